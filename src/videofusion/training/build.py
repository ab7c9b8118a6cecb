"""From a recipe to what is trained (a system) and what it is trained on (batches)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videofusion.data.batch import Batch, Dataset
from videofusion.data.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.training.recipes import Recipe

if TYPE_CHECKING:
    from videofusion.data.loader import Loader


def training_data(recipe: Recipe, data: Path | None) -> tuple[Loader, Sequence[Batch]]:
    """The training batches of a recipe, and the fixed batches of its validation loss.

    Args:
        recipe: names the kind of data and its sizes.
        data: the folder of clips, for recipes that train on one.

    Raises:
        InputError: a folder where none is needed or the other way round, or one without a readable clip.
    """
    from videofusion.data.loader import Loader

    train, held_out = _datasets(recipe, data)
    loader = Loader(train, recipe.batch_size, seed=recipe.seed, workers=recipe.workers)
    if not len(held_out):
        return loader, []
    fixed = Loader(held_out, recipe.batch_size, seed=0).starting(0)
    return loader, [next(fixed) for _ in range(recipe.validation_batches)]


def _datasets(recipe: Recipe, data: Path | None) -> tuple[Dataset, Dataset]:
    if recipe.data == "folder":
        raise NotImplementedError
    if data is not None:
        raise InputError(f'data is {data}, but the recipe "{recipe.name}" makes its own data; leave it out')
    still = recipe.data == "static-digits"
    return tuple(
        MovingDigits(recipe.frames, recipe.size, split, recipe.two_digits, static=still, grey=still)
        for split in ("train", "val")
    )
