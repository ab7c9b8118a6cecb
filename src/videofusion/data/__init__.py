"""Clips to train and measure on: folders of videos, the built-in moving digits, and their loader."""
