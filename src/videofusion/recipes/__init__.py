"""What to train: recipes."""
