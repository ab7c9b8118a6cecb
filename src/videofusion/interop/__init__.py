"""Interop: checkpoints of others in."""
