"""Systems: one file each, with the idea, the paper, its choices, its loss and its pipeline."""
