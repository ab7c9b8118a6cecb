"""From a recipe's keys to batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from videofusion.digits.domain import OVER_PHOTOS
from videofusion.errors import InputError
from videofusion.recipes.catalogue import get_recipe
from videofusion.training.batches import training_data
from videofusion.training.world import World

FOLDER = {"clips.kind": "folder", "clips.frames": 4, "clips.size": 16, "batch.size": 2, "batch.workers": 0}


@pytest.fixture
def array(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (20, 6, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", frames)
    return tmp_path / "clips.npy"


def test_the_keys_of_a_recipe_reach_the_clips(array):
    keys = {
        "clips.layout": "array",
        "clips.strides": "1,4",
        "clips.flip": "true",
        "clips.per_video": 3,
        "clips.validation_share": 0.5,
    }
    loader, fixed = training_data(get_recipe("tiny", {**FOLDER, **keys}), array, World())
    assert len(loader.dataset) == 9  # 3 of 6 videos, 3 clips each
    assert loader.dataset.sampler.flip
    assert loader.dataset.sampler.stride == (1, 4)
    assert loader.batch(0).clip.shape == (2, 4, 3, 16, 16)
    held_out = {name for batch in fixed for name in batch.names}
    assert held_out.isdisjoint(loader.dataset.names)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"clips.layout": "frames"}, "is not a folder"),
        ({"clips.fold": 2}, "fold is 2; it must be 1"),
        ({"clips.fps_range": "4,8", "clips.fps": 2}, "allowed is one of them"),
        ({"clips.fps": 8}, "nothing says its frame rate"),
    ],
)
def test_keys_that_do_not_fit_are_refused_before_training(array, keys, said):
    with pytest.raises(InputError, match=said):
        training_data(get_recipe("tiny", {**FOLDER, **keys}), array, World())  # it reads the validation clips


@pytest.mark.parametrize(("name", "size"), [("digit-crops", 16), ("digit-crops", 24), ("digit-images", 32)])
def test_image_models_of_digits_see_one_frame_of_each_clip(name, size):
    loader, _ = training_data(
        get_recipe(name, {"clips.size": size, "batch.size": 2, "log.validation_batches": 1}), None, World()
    )
    batch = loader.batch(0)
    assert batch.clip.shape == (2, 1, 3, size, size)
    assert any("moving" in text or "goes" in text or "drifts" in text for text in loader.batch(1).captions)
    with pytest.raises(InputError, match="frames is 4, but the data"):
        training_data(get_recipe(name, {"clips.frames": 4}), None, World())


def test_crops_that_hold_no_digit_are_refused_by_the_name_of_the_key():
    with pytest.raises(InputError, match=r"size is 12, but must be in \[16, 32\]"):
        training_data(get_recipe("digit-crops", {"clips.size": 12}), None, World())


@pytest.mark.parametrize("kind", ["digits", "folder"])
def test_pictures_come_beside_clips_and_do_not_depend_on_the_processes(kind, array):
    keys = {
        "system": "vdm",
        "network.temporal": "factorised",
        "system.image_frames": 3,
        "batch.size": 4,
        "log.validation_batches": 1,
    }
    keys |= (
        {**FOLDER, "clips.layout": "array", "batch.size": 4}
        if kind == "folder"
        else {"clips.size": 32, "clips.frames": 8}
    )
    recipe, data = get_recipe("tiny", {**keys, "batch.workers": 0}), array if kind == "folder" else None
    joint, fixed = training_data(recipe, data, World())
    batch = joint.batch(5)
    side = recipe.clips.size
    assert batch.clip.shape == (4, recipe.clips.frames, 3, side, side)
    assert batch.pictures.clip.shape == (12, 1, 3, side, side)
    assert fixed[0].pictures is None
    ahead = joint.starting(4)
    next(ahead)
    again = next(ahead)
    assert torch.equal(again.pictures.clip, batch.pictures.clip)
    assert torch.equal(again.clip, batch.clip)
    halves = [training_data(recipe, data, World(rank, 2))[0].batch(5) for rank in range(2)]
    assert torch.equal(torch.cat([half.pictures.clip for half in halves]), batch.pictures.clip)
    assert torch.equal(torch.cat([half.clip for half in halves]), batch.clip)
    if kind == "digits":  # made of other draws than the clips; a folder has only so many videos
        middles = batch.clip[:, recipe.clips.frames // 2]
        assert not any(torch.equal(picture[0], frame) for picture in batch.pictures.clip for frame in middles)
    assert len({picture.sum().item() for picture in batch.pictures.clip}) > 6


def test_only_plain_diffusion_trains_on_pictures_beside_clips():
    with pytest.raises(InputError, match=r"system\.image_frames is of the system 'vdm'"):
        get_recipe("tiny", {"system.image_frames": 4})


@pytest.mark.parametrize("kind", OVER_PHOTOS)
def test_each_kind_of_digits_comes_over_photographs_too(kind):
    keys = {
        "clips.frames": 4 if kind == "moving-digits" else 1,
        "clips.size": 16,
        "batch.size": 32,
        "log.validation_batches": 1,
    }
    plain, over = (
        training_data(get_recipe("tiny", {**keys, "clips.kind": data}), None, World())[1][0]
        for data in (kind, OVER_PHOTOS[kind])
    )
    assert plain.clip.shape == over.clip.shape
    assert over.clip.mean() > plain.clip.mean() + 0.2  # there is something behind the digits
