"""Layouts of data on disk, one module each, and their detection."""
