"""Kinds of data by how they lie on a disk, a module each, and which of them lies at a path."""
