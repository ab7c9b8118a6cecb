"""What all tests share: where real clips are, and a small model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips beside the repository; a test that wants it skips without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("VIDEOFUSION_SHARED", beside))
    if not path.is_dir():
        pytest.skip("the real clips of ../shared/data are not here (VIDEOFUSION_SHARED names them)")
    return path


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small text-to-video pipeline with random weights: 3 frames of 8x8, "red" and "three"."""
    import torch

    from videofusion.conditioning.text import WordEncoder
    from videofusion.networks.unet import UNet
    from videofusion.systems.vdm import VDMPipeline

    torch.manual_seed(0)
    unet = UNet(channels=(16, 16), attention=("none", "transformer"), blocks=1, heads=2, text_size=16, groups=8)
    folder = tmp_path_factory.mktemp("saved") / "model"
    pipe = VDMPipeline(unet, WordEncoder(words=["red", "three"], size=16), frames=3, height=8, width=8)
    pipe.save_pretrained(folder)
    return folder
