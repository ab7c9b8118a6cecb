"""Interoperability: reading checkpoints of other libraries."""
