"""Many clips from a table of prompts: the rows, the record of what became of each, the run that makes them."""
