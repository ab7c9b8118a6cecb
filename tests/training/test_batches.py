"""From a recipe's keys to batches."""

from __future__ import annotations

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.training.batches import training_data
from videofusion.training.recipes import get_recipe
from videofusion.training.world import World

FOLDER = {"data": "folder", "frames": 4, "size": 16, "batch_size": 2, "workers": 0}


@pytest.fixture
def array(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (20, 6, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", frames)
    return tmp_path / "clips.npy"


def test_the_keys_of_a_recipe_reach_the_clips(array):
    keys = {"layout": "array", "strides": "1,4", "flip": "true", "clips_per_video": 3, "validation_share": 0.5}
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
        ({"layout": "frames"}, "is not a folder"),
        ({"fold": 2}, "fold is 2; allowed is 1"),
        ({"fps_range": "4"}, "a range being two numbers"),
        ({"fps_range": "4,8", "fps": 2}, "allowed is one of them"),
        ({"fps_range": "8,4"}, "the lower one first"),
        ({"fps": 8}, "nothing says its frame rate"),
    ],
)
def test_keys_that_do_not_fit_are_refused_before_training(array, keys, said):
    with pytest.raises(InputError, match=said):
        training_data(get_recipe("tiny", {**FOLDER, **keys}), array, World())  # it reads the validation clips


@pytest.mark.parametrize(("name", "size"), [("digit-crops", 16), ("digit-crops", 24), ("digit-images", 32)])
def test_image_models_of_digits_see_one_frame_of_each_clip(name, size):
    loader, _ = training_data(get_recipe(name, {"size": size, "batch_size": 2, "validation_batches": 1}), None, World())
    batch = loader.batch(0)
    assert batch.clip.shape == (2, 1, 3, size, size)
    assert any("moving" in text or "goes" in text or "drifts" in text for text in loader.batch(1).captions)
    with pytest.raises(InputError, match="frames is 4, but the data"):
        training_data(get_recipe(name, {"frames": 4}), None, World())


def test_crops_that_hold_no_digit_are_refused_by_the_name_of_the_key():
    with pytest.raises(InputError, match=r"size is 12, but must be in \[16, 32\]"):
        training_data(get_recipe("digit-crops", {"size": 12}), None, World())
