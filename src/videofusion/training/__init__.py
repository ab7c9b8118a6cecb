"""Training: recipes, the loop, the moving average of weights, checkpoints, logs.

`import videofusion.training` stays light (no torch) so that a command line can list recipes.
"""

from videofusion.training.recipe import Recipe
from videofusion.training.recipes import RECIPES, get_recipe

__all__ = ["RECIPES", "Recipe", "get_recipe"]
