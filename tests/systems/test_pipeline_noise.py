"""Pipelines whose noise is correlated over frames: training, sampling, and what guidance is handed of it."""

from __future__ import annotations

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, batch, keys, unet, vdm, videofusion, words
from torch import Tensor

from videofusion.diffusion import Following, Keys, Known
from videofusion.diffusion.kernels import KINDS as KERNELS
from videofusion.diffusion.kernels import MOST_FRAMES, KernelNoise, make_noise
from videofusion.diffusion.noise import DecomposedNoise
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.systems import pipeline as home
from videofusion.systems.vdm import VDMPipeline


def make(pipe, **options) -> Tensor:
    return pipe(CAPTIONS[:2], **{"steps": 2, "seed": [3, 4], **options})


@pytest.mark.parametrize("kind", KERNELS)
def test_plain_diffusion_trains_and_samples_with_correlated_noise(kind, monkeypatch, tmp_path):
    system, drawn = vdm(noise=kind), []
    source = make_noise(kind)
    draw = KernelNoise.draw
    monkeypatch.setattr(KernelNoise, "draw", lambda self, *a, **k: drawn.append(draw(self, *a, **k)) or drawn[-1])
    loss = system.loss(batch(), keys(), 8)
    loss.total.backward()
    assert loss.total.isfinite()
    wanted = draw(source, (4, FRAMES, 3, SIZE, SIZE), keys(), 9).eps
    assert torch.equal(drawn.pop().eps, wanted)
    assert vdm().loss(batch(), keys(), 8).total != loss.total or kind == "shuffled"

    system.pipeline().save_pretrained(tmp_path)
    pipe = load(tmp_path)
    assert pipe.noise_source() == source == system.noise
    made = make(pipe, sampler="ddpm", start=3)
    assert made.isfinite().all()
    assert len(drawn) == 2  # to begin with, and what the sampler adds
    for step, noise in enumerate(drawn):
        wanted = draw(source, (2, FRAMES, 3, SIZE, SIZE), Keys.of([3, 4]), step, frames=range(3, 8)).eps
        assert torch.equal(noise.eps, wanted)


@pytest.mark.parametrize("kind", ["corrected", "vdm", "progressive"])
def test_guidance_by_given_frames_has_the_covariance_of_the_source(kind, monkeypatch):
    system = videofusion(kind) if kind == "corrected" else vdm(noise=kind if kind in KERNELS else "independent")
    pipe = system.pipeline()
    seen = []

    class Watched(Following):
        def __init__(self, denoiser, known, covariance):
            seen.append(covariance)
            super().__init__(denoiser, known, covariance)

    monkeypatch.setattr(home, "Following", Watched)
    make(pipe, known=Known(torch.zeros(2, 3, SIZE, SIZE), (0, 1), weight=1.0), start=20)
    share = None if kind != "corrected" else DecomposedNoise(0.5).shares(2, FRAMES)
    wanted = pipe.noise_source().covariance(share, range(20, 20 + FRAMES)).expand(2, -1, -1)
    assert len(seen) == 1
    assert torch.equal(seen[0], wanted)
    if kind == "progressive":
        torch.testing.assert_close(wanted[0, 0, 1].item(), 0.9)


def test_noise_that_no_model_has_is_refused():
    with pytest.raises(InputError, match="noise is 'pink'; it must be one of independent, mixed"):
        VDMPipeline(unet("factorised"), words(), noise="pink")
    with pytest.raises(InputError, match=r"noise_parameter is 2.0, with which 'mixed' noise has no positive"):
        vdm(noise="mixed", noise_parameter=2.0)
    pipe = vdm(noise="ou").pipeline()
    with pytest.raises(InputError, match="frames holds 1024; 'ou' noise has frames 0 to 1023"):
        make(pipe, start=MOST_FRAMES - FRAMES + 1)
