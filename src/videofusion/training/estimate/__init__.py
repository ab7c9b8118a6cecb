"""What a recipe takes before it is trained: memory, sizes, a trial."""
