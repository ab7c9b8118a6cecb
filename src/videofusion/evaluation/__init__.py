"""How good a clip is: a judge for the built-in moving digits, Fréchet distances, protocols."""
