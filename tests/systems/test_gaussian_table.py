"""What each variant of VideoFusion samples when its networks are as good as they can be, by exact linear algebra.

Clips x^i = c + s (i - m) + a little noise of each frame's own, with c ~ N(0, 1) and s ~ N(0, 1/2): a content and a
motion. The networks are the best linear ones for whatever the composite shows them, so an error that is left is the
composite's own. DDIM is linear then, and the covariance of its samples is known without drawing any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import pytest
import torch
from torch import Tensor, nn

from videofusion.diffusion import (
    Conditions,
    DecomposedNoise,
    IndependentNoise,
    NetworkDenoiser,
    Prediction,
    make_schedule,
    times,
)
from videofusion.diffusion.samplers import ddim
from videofusion.systems.decomposed import VideoFusion

FRAMES, MIDDLE = 5, 2
SCHEDULE = make_schedule("cosine")
MOTION = torch.arange(FRAMES, dtype=torch.float64) - MIDDLE
# a clip for each frame's noise, one for the content, and one for the middle frame where that is told clean
UNITS = torch.eye(FRAMES + 2, dtype=torch.float64)


@dataclass(frozen=True)
class Law:
    """Covariances over frames, and how the content is known: `told` to the networks, or only part of the data."""

    own: float
    told: bool
    noise: Tensor

    @cached_property
    def data(self) -> Tensor:
        """Covariance of the clips."""
        return self.unknown + (1.0 if self.told else 0.0)

    @cached_property
    def unknown(self) -> Tensor:
        """Covariance of the clips given what the networks are told."""
        motion = 0.5 * torch.outer(MOTION, MOTION) + self.own * torch.eye(FRAMES, dtype=torch.float64)
        return motion + (0.0 if self.told else 1.0)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At a time: alpha, sigma, the covariance of the clip with what there is to see, and the covariance of that.

        There is the noisy clip to see, and, last, the clean middle frame.
        """
        alpha, sigma = SCHEDULE.alpha_sigma(t)
        sees = torch.cat([alpha * torch.eye(FRAMES, dtype=torch.float64), UNITS[MIDDLE : MIDDLE + 1, :FRAMES]])
        noise = torch.zeros_like(UNITS[1:, 1:])
        noise[:FRAMES, :FRAMES] = sigma**2 * self.noise
        return alpha, sigma, self.unknown @ sees.T, sees @ self.unknown @ sees.T + noise


class Base(nn.Module):
    """The best base generator: the expected middle frame given the noisy middle frame (and the content)."""

    def __init__(self, law: Law) -> None:
        super().__init__()
        self.law = law

    def forward(self, z: Tensor, time: Tensor, temporal: float, image_embedding: Tensor, **_: Tensor) -> Tensor:
        alpha, _, cross, power = self.law.at(time[0] / 1000)
        content = image_embedding.reshape(-1, 1, 1, 1, 1)
        gain = cross[MIDDLE, MIDDLE] / power[MIDDLE, MIDDLE]
        return content + gain * (z - alpha * content)


class Residual(nn.Module):
    """The best network for what it sees: linear regression of the clip on its input, all frames' or each frame's own.

    It learns what its input means by being shown `UNITS` once at every time of the clip.
    """

    def __init__(self, law: Law, corrects_the_middle: bool) -> None:
        super().__init__()
        self.law = law
        self.corrects_the_middle = corrects_the_middle
        self.learning: Tensor | None = None  # the clip's time, while it learns

    def forward(self, seen: Tensor, time: Tensor, temporal: float, image_embedding: Tensor, **_: Tensor) -> Tensor:
        if self.learning is not None:
            self._learn(seen, self.learning, temporal)
            return torch.zeros_like(seen[:, :, :1])
        content = image_embedding.reshape(-1, 1)
        inputs = seen.flatten(2).flatten(1) - content * self.meaning_of_content
        clip = self.of_content * content + inputs @ self.weights.T
        return clip[:, :, None, None, None]

    def _learn(self, seen: Tensor, t: Tensor, temporal: float) -> None:
        alpha, sigma, cross, power = self.law.at(t)
        meaning = seen.flatten(1).T  # [inputs, frames + 2]: of the noisy clip's frames, content and clean middle frame
        on_content, on_seen = meaning[:, FRAMES], torch.cat([meaning[:, :FRAMES], meaning[:, FRAMES + 1 :]], dim=1)
        self.meaning_of_content = on_content + alpha * on_seen[:, :FRAMES].sum(1) + on_seen[:, FRAMES]
        target, self.of_content = cross.clone(), torch.ones(FRAMES, dtype=torch.float64)
        if self.corrects_the_middle:  # its output there is (x - base generator's x) / sigma
            gain = cross[MIDDLE, MIDDLE] / power[MIDDLE, MIDDLE]
            target[MIDDLE] = (cross[MIDDLE] - gain * power[MIDDLE]) / sigma
            self.of_content[MIDDLE] = 0
        with_inputs, among_inputs = target @ on_seen.T, on_seen @ power @ on_seen.T
        if not temporal:  # a frame's output may depend on its own input only
            of_frame = torch.eye(FRAMES, dtype=torch.float64).repeat_interleave(len(meaning) // FRAMES, 1)
            with_inputs, among_inputs = with_inputs * of_frame, among_inputs * (of_frame.T @ of_frame)
        self.weights = with_inputs @ torch.linalg.pinv(among_inputs, rcond=1e-13, hermitian=True)


def sampled(
    system: str, *, share: float = 0.5, own: float = 1e-3, told: bool = False, steps: int = 400
) -> tuple[float, float]:
    """Relative error of the sampled covariance, and the correlation of the displacements to first and last frame."""
    source = IndependentNoise() if system == "vdm" else DecomposedNoise(share)
    shares = DecomposedNoise(share).shares(1, FRAMES).double()
    law = Law(own, told, source.covariance(shares)[0])
    network = Residual(law, corrects_the_middle=system == "corrected")
    if system == "vdm":
        denoiser: Callable[..., Prediction] = NetworkDenoiser(network, SCHEDULE, "x0")
    else:
        denoiser = VideoFusion(
            Base(law), network, SCHEDULE, base_prediction="x0", residual_prediction="x0", variant=system
        )
    conditions = Conditions(share=shares.expand(len(UNITS), -1), image_embedding=UNITS[:, FRAMES : FRAMES + 1])
    units, middles = UNITS[..., None, None, None].tensor_split([FRAMES], dim=1)
    stops = times(SCHEDULE, steps).double()
    if system == "image-first":  # the base generator finishes the middle frame first
        told_to_base = conditions.window(MIDDLE, MIDDLE + 1)
        image = ddim(denoiser.base, units[:, MIDDLE : MIDDLE + 1], stops, schedule=SCHEDULE, conditions=told_to_base)
        conditions = replace(conditions, middle_frame=image)

    def best(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        network.learning = t[0]
        denoiser(units, t, replace(conditions, middle_frame=middles[:, 1:]))
        network.learning = None
        return denoiser(z, t, conditions)

    clips = ddim(best, units, stops, schedule=SCHEDULE, conditions=conditions)
    of_noise, of_content = clips.flatten(1).T[:, :FRAMES], clips.flatten(1)[FRAMES]
    covariance = of_noise @ law.noise @ of_noise.T
    if told:
        covariance = covariance + torch.outer(of_content, of_content)
    displacement = torch.zeros(2, FRAMES, dtype=torch.float64)
    displacement[0, 0] = displacement[1, -1] = 1
    displacement[:, MIDDLE] = -1
    moved = displacement @ covariance @ displacement.T
    correlation = moved[0, 1] / (moved[0, 0] * moved[1, 1]).sqrt()
    return float((covariance - law.data).norm() / law.data.norm()), float(correlation)


TABLE = {
    "independent noise, joint network": (("vdm", {}), 0.01, -1.00),
    "framewise": (("framewise", {}), 0.61, 0.08),
    "published": (("published", {}), 0.73, 0.02),
    "published, share 0.9": (("published", {"share": 0.9}), 0.19, -0.60),
    "published, content told": (("published", {"told": True}), 0.01, -1.00),
    "corrected": (("corrected", {}), 0.01, -1.00),
    "image-first": (("image-first", {}), 0.01, -1.00),
    "image-first, content told": (("image-first", {"told": True}), 0.01, -1.00),
}


@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_what_the_variants_sample(row: str) -> None:
    (system, options), error, correlation = TABLE[row]
    measured = sampled(system, **options)
    assert measured == pytest.approx((error, correlation), abs=0.0051)


def test_the_published_variant_gets_worse_the_closer_clips_are_to_a_plane_and_ours_does_not() -> None:
    """The table's row holds for frames with noise of variance 1/1000 of their own; without any, it has no limit."""
    plane, near = (sampled("published", own=own, steps=100)[0] for own in (1e-5, 1e-3))
    assert plane > 2 * near
    assert sampled("corrected", own=1e-5, steps=100)[0] < 0.04
    assert sampled("image-first", own=1e-5, steps=100)[0] < 0.04


@pytest.mark.parametrize("system", ["corrected", "image-first"])
def test_our_variants_are_exact_at_another_share(system: str) -> None:
    error, correlation = sampled(system, share=0.9, steps=100)
    assert error < 0.08
    assert correlation < -0.99


@pytest.mark.parametrize(
    ("frames", "told", "error"),
    [(8, False, 5.1), (16, False, 58.2), (8, True, 0.0192), (16, True, 0.0555)],
)
def test_without_the_embedding_published_is_worse_the_longer_the_clip(
    frames: int, told: bool, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "FRAMES", frames)
    monkeypatch.setitem(globals(), "MIDDLE", frames // 2)
    monkeypatch.setitem(globals(), "MOTION", torch.arange(frames, dtype=torch.float64) - frames // 2)
    monkeypatch.setitem(globals(), "UNITS", torch.eye(frames + 2, dtype=torch.float64))
    measured, _ = sampled("published", told=told)
    assert measured == pytest.approx(error, rel=0.01)
