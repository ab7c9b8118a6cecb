"""What to train: recipes by name, their values, and those of the papers."""
