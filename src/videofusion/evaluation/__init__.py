"""Measuring clips: protocols, feature networks, metrics."""
