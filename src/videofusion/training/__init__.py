"""Training: recipes, the loop, the moving average of weights, checkpoints, logs.

`import videofusion.training` stays light (no torch) so that a command line can list recipes.
"""

from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "get_recipe"]
