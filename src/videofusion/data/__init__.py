"""Clips to train and measure on: what lies on a disk in any layout, as items, clips and batches."""
