"""What a recipe needs, before it is trained: memory, sizes, a trial."""
