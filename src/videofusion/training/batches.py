"""From a recipe to its training batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videofusion.data.batch import Batch, Dataset
from videofusion.data.folder import VideoFolder
from videofusion.data.joint import JointLoader
from videofusion.data.loader import Loader
from videofusion.domains import domain_with
from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe
from videofusion.training.world import World

_PICTURES = 1  # what their order, and made-up pictures, differ by from the clips' of a seed


def training_data(recipe: Recipe, data: Path | None, world: World) -> tuple[Loader | JointLoader, Sequence[Batch]]:
    """This process's share of the training batches of a recipe, and of the fixed batches of its validation loss.

    Args:
        recipe: names the kind of data and its sizes.
        data: the folder of clips, for recipes that train on one.
        world: the processes that share the batches.

    Raises:
        InputError: a folder where none is needed or the other way round, or one without a readable clip; a batch that
            the processes cannot share evenly.
    """
    train = _dataset(recipe, data, "train")
    share = world.share(recipe.batch.size)
    options = {"workers": recipe.batch.workers, "rank": world.rank, "world": world.size}
    loader = Loader(train, share, seed=recipe.seed, **options)
    joint: Loader | JointLoader = loader
    if recipe.system.pictures:
        few = recipe.system.pictures * share
        joint = JointLoader(loader, Loader(_pictures(recipe, data), few, seed=recipe.seed + _PICTURES, **options))
    held_out = _dataset(recipe, data, "val")
    if len(held_out) == 0:  # a folder of a single file
        return joint, []
    fixed = Loader(held_out, share, seed=0, rank=world.rank, world=world.size)
    validation = [fixed.batch(number) for number in range(recipe.log.validation_batches)]
    loader.report |= fixed.report  # the run tells of all that it could not use
    return joint, validation


def _pictures(recipe: Recipe, data: Path | None) -> Dataset:
    """Single frames of the training clips."""
    domain = domain_with(recipe.clips.kind)
    kind = recipe.clips.kind if domain is None else domain.still.get(recipe.clips.kind, recipe.clips.kind)
    return _dataset(recipe.replace({"clips.frames": 1, "clips.kind": kind}), data, "train")


def _dataset(recipe: Recipe, data: Path | None, split: str) -> Dataset:
    if recipe.clips.kind == "folder":
        if data is None:
            raise InputError(f'data is not given, but the recipe "{recipe.name}" trains on a folder of clips')
        train = split == "train"
        clips = recipe.clips.per_video if train else 1
        return folder_clips(recipe, data, split, clips, crop=recipe.clips.crop, flip=recipe.clips.flip and train)
    if data is not None:
        raise InputError(f'data is {data}, but the recipe "{recipe.name}" makes its own data ({recipe.clips.kind})')
    if recipe.clips.caption is not None:
        raise InputError(f"recipe key clips.caption goes with a folder of clips only; {recipe.clips.kind} has captions")
    domain = domain_with(recipe.clips.kind)
    assert domain is not None  # recipes name no other data
    found: Dataset = domain.dataset(recipe, split)
    return found


def folder_clips(recipe: Recipe, data: Path, split: str, clips: int, **options: Any) -> VideoFolder:
    """A part of a folder, as a recipe reads it.

    Args:
        recipe: says how.
        data: the folder.
        split: "train", "val" or "test".
        clips: of each video.
        options: of `VideoFolder`, beside these.
    """
    return VideoFolder(
        data,
        layout=recipe.clips.layout,
        fold=recipe.clips.fold,
        frames=recipe.clips.frames,
        size=recipe.clips.size,
        fps=_clip_rates(recipe),
        stride=recipe.clips.strides or recipe.clips.stride,
        start=recipe.clips.start,
        caption=recipe.clips.caption,
        clips=clips,
        split=split,
        holdout=recipe.clips.validation_share,
        **options,
    )


def _clip_rates(recipe: Recipe) -> float | tuple[float, float] | None:
    """Frames per second of a folder's clips, as `ClipSampler` takes them.

    Raises:
        InputError: both a rate and a range.
    """
    if not recipe.clips.fps_range:
        return recipe.clips.fps
    if recipe.clips.fps is not None:
        raise InputError(
            f"recipe key clips.fps is {recipe.clips.fps} and clips.fps_range {recipe.clips.fps_range}; allowed is one "
            "of them"
        )
    return recipe.clips.fps_range[0], recipe.clips.fps_range[1]
