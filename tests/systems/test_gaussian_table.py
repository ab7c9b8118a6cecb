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
from videofusion.diffusion.samplers import ddim, ddpm
from videofusion.systems.decomposed import VARIANTS, VideoFusion

FRAMES = 5
CORRECTS_BASE = [name for name, variant in VARIANTS.items() if variant.decides == "both"]
SCHEDULE = make_schedule("cosine")
PER_FRAME = (0.9, 0.2, 0.6, 0.05)  # a share for each distance from the middle frame, over and over


@dataclass(frozen=True)
class Law:
    """Covariances over frames, and how the content is known: `told` to the networks, or only part of the data."""

    own: float
    told: bool
    noise: Tensor
    share: Tensor

    @property
    def frames(self) -> int:
        return len(self.noise)

    @property
    def middle(self) -> int:
        return self.frames // 2

    @cached_property
    def units(self) -> Tensor:
        """A clip for each frame's noise, one for the content, one for the middle frame where that is told clean."""
        return torch.eye(self.frames + 2, dtype=torch.float64)

    @cached_property
    def data(self) -> Tensor:
        """Covariance of the clips."""
        return self.unknown + (1.0 if self.told else 0.0)

    @cached_property
    def unknown(self) -> Tensor:
        """Covariance of the clips given what the networks are told."""
        along = torch.arange(self.frames, dtype=torch.float64) - self.middle
        motion = 0.5 * torch.outer(along, along) + self.own * torch.eye(self.frames, dtype=torch.float64)
        return motion + (0.0 if self.told else 1.0)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At a time: alpha, sigma, the covariance of the clip with what there is to see, and the covariance of that.

        There is the noisy clip to see, and, last, the clean middle frame.
        """
        alpha, sigma = SCHEDULE.alpha_sigma(t)
        each = torch.eye(self.frames, dtype=torch.float64)
        sees = torch.cat([alpha * each, each[self.middle : self.middle + 1]])
        noise = torch.zeros_like(self.units[1:, 1:])
        noise[: self.frames, : self.frames] = sigma**2 * self.noise
        return alpha, sigma, self.unknown @ sees.T, sees @ self.unknown @ sees.T + noise


class Base(nn.Module):
    """The best base generator: the expected middle frame given the noisy middle frame (and the content)."""

    def __init__(self, law: Law) -> None:
        super().__init__()
        self.law = law

    def forward(self, z: Tensor, time: Tensor, temporal: float, image_embedding: Tensor, **_: Tensor) -> Tensor:
        alpha, _, cross, power = self.law.at(time[0] / 1000)
        content = image_embedding.reshape(-1, 1, 1, 1, 1)
        gain = cross[self.law.middle, self.law.middle] / power[self.law.middle, self.law.middle]
        return content + gain * (z - alpha * content)


class Residual(nn.Module):
    """The best network for what it sees: linear regression of the clip on its input, all frames' or each frame's own.

    It learns what its input means by being shown the law's units once at every time of the clip.
    """

    def __init__(self, law: Law, variant: str) -> None:
        super().__init__()
        self.law = law
        self.variant = variant
        self.learning: Tensor | None = None  # the clip's time, while it learns

    def forward(self, seen: Tensor, time: Tensor, temporal: float, image_embedding: Tensor, **_: Tensor) -> Tensor:
        if self.learning is not None:
            self._learn(seen, self.learning)
            return torch.zeros_like(seen[:, :, :1])
        content = image_embedding.reshape(-1, 1)
        inputs = seen.flatten(2).flatten(1) - content * self.meaning_of_content
        clip = self.of_content * content + inputs @ self.weights.T
        return clip[:, :, None, None, None]

    def _learn(self, seen: Tensor, t: Tensor) -> None:
        n, m = self.law.frames, self.law.middle
        alpha, sigma, cross, power = self.law.at(t)
        meaning = seen.flatten(1).T  # [inputs, frames + 2]: of the noisy clip's frames, content and clean middle frame
        on_content, on_seen = meaning[:, n], torch.cat([meaning[:, :n], meaning[:, n + 1 :]], dim=1)
        self.meaning_of_content = on_content + alpha * on_seen[:, :n].sum(1) + on_seen[:, n]
        target, self.of_content = cross.clone(), torch.ones(n, dtype=torch.float64)
        if self.variant == "joint":  # what a frame has beyond the middle one (eq. 6)
            root, left = self.law.share.sqrt(), (1 - self.law.share).clamp_min(1e-9).sqrt()
            target = (cross - root[:, None] * cross[m]) / left[:, None]
            self.of_content = (1 - root) / left
        if self.variant in CORRECTS_BASE:  # its output there is (x - base generator's x) / sigma
            gain = cross[m, m] / power[m, m]
            target[m] = (cross[m] - gain * power[m]) / sigma
            self.of_content[m] = 0
        with_inputs, among_inputs = target @ on_seen.T, on_seen @ power @ on_seen.T
        if self.variant == "framewise":  # a frame's output may depend on its own input only
            of_frame = torch.eye(n, dtype=torch.float64).repeat_interleave(len(meaning) // n, 1)
            with_inputs, among_inputs = with_inputs * of_frame, among_inputs * (of_frame.T @ of_frame)
        self.weights = with_inputs @ torch.linalg.pinv(among_inputs, rcond=1e-13, hermitian=True)


def shares_of(share: float | str, frames: int) -> Tensor:
    """Lambda of every frame [frames]."""
    if share != "per frame":
        return DecomposedNoise(share).shares(1, frames)[0].double()
    distance = (torch.arange(frames) - frames // 2).abs()
    own = torch.tensor(PER_FRAME, dtype=torch.float64)[(distance - 1) % len(PER_FRAME)]
    return torch.where(distance == 0, 1.0, own)


def sampled(
    system: str,
    *,
    share: float | str = 0.5,
    own: float = 1e-3,
    told: bool = False,
    steps: int = 400,
    frames: int = FRAMES,
    spacing: str = "trailing",
    stochastic: bool = False,
    other_base_noise: bool = False,
) -> tuple[float, float]:
    """Relative error of the sampled covariance, and the correlation of the displacements to first and last frame.

    Args:
        system: "vdm" or a variant.
        share: lambda of frames other than the middle one, or "per frame".
        own: variance of each frame's own.
        told: whether the networks are told the content.
        steps: of the sampler.
        frames: of the clips.
        spacing: of the times; DDIM's own error is a fifth where they are even in log-SNR, which long clips need.
        stochastic: by DDPM's algorithm 1 in place of DDIM; each noise that a step adds is then a further clip.
        other_base_noise: return how much frames other than the middle one change with another base noise instead, over
            their own deviation.
    """
    shares = shares_of(share, frames)
    source = IndependentNoise() if system == "vdm" else DecomposedNoise()
    law = Law(own, told, source.covariance(shares[None])[0], shares)
    network = Residual(law, system)
    if system == "vdm":
        denoiser: Callable[..., Prediction] = NetworkDenoiser(network, SCHEDULE, "x0")
    else:
        denoiser = VideoFusion(
            Base(law), network, SCHEDULE, base_prediction="x0", residual_prediction="x0", variant=system
        )
    conditions = Conditions(share=shares.expand(frames + 2, -1), image_embedding=law.units[:, frames : frames + 1])
    units, middles = law.units[..., None, None, None].tensor_split([frames], dim=1)
    stops = times(SCHEDULE, steps, spacing=spacing).double()
    if system == "image-first":  # the base generator finishes the middle frame first
        alone = slice(law.middle, law.middle + 1)
        told_to_base = conditions.window(law.middle, law.middle + 1)
        image = ddim(denoiser.base, units[:, alone], stops, schedule=SCHEDULE, conditions=told_to_base)
        conditions = replace(conditions, middle_frame=image)
    learning = replace(conditions, middle_frame=middles[:, 1:])

    def best(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        network.learning = t[0]
        denoiser(units, t[:1].expand(frames + 2), learning)
        network.learning = None
        return denoiser(z, t, conditions)

    if stochastic:  # at the start frames + 2 clips, and `frames` more for each step's noise
        count = frames + 2 + frames * steps
        start = torch.cat([units, torch.zeros(frames * steps, *units.shape[1:], dtype=units.dtype)])
        embedding = torch.cat([law.units[:, frames : frames + 1], torch.zeros(frames * steps, 1, dtype=units.dtype)])
        conditions = Conditions(share=shares.expand(count, -1), image_embedding=embedding)

        def added(step: int) -> Tensor:
            noise = torch.zeros_like(start)
            first = frames + 2 + frames * (step - 1)
            noise[first : first + frames] = units[:frames]
            return noise

        clips = ddpm(best, start, stops, schedule=SCHEDULE, conditions=conditions, noise=added)
    else:
        clips = ddim(best, units, stops, schedule=SCHEDULE, conditions=conditions)
    rows = clips.flatten(1)
    of_content = rows[frames]
    of_noise = torch.cat([rows[:frames], rows[frames + 2 :]]).reshape(-1, frames, frames)
    covariance = torch.einsum("sif,ij,sjg->fg", of_noise, law.noise, of_noise)
    if told:
        covariance = covariance + torch.outer(of_content, of_content)
    if other_base_noise:
        # the base noise b is in every frame's noise by sqrt(share); frame m's noise is b alone
        others = torch.arange(frames) != law.middle
        of_base = shares.sqrt() @ of_noise[0]
        deviation = covariance.diagonal().sqrt()
        return float((2**0.5 * of_base.abs() / deviation)[others].min()), 0.0
    displacement = torch.zeros(2, frames, dtype=torch.float64)
    displacement[0, 0] = displacement[1, -1] = 1
    displacement[:, law.middle] = -1
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
    "joint": (("joint", {}), 0.01, -1.00),
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


LENGTHS, SHARES = (5, 8, 9, 16), (0.3, 0.5, 0.9, "per frame")


@pytest.mark.parametrize("system", CORRECTS_BASE)
@pytest.mark.parametrize("share", [0.9, "per frame"])
def test_ours_are_exact_at_any_share(system: str, share: float | str) -> None:
    error, correlation = sampled(system, share=share, steps=100, frames=8, spacing="logsnr")
    assert error < 0.08
    assert correlation < -0.99


@pytest.mark.parametrize("system", [*CORRECTS_BASE, "published"])
def test_the_laws_hold_where_variance_is_not_preserved(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SCHEDULE", make_schedule("rectified_flow"))
    told = system == "published"
    error, correlation = sampled(system, share="per frame", told=told, spacing="logsnr")
    assert error <= (0.06 if told else 0.03)
    assert correlation < -0.99


@pytest.mark.slow
@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("share", SHARES)
def test_ours_are_exact_at_every_length(share: float | str, frames: int) -> None:
    for system in CORRECTS_BASE:
        assert sampled(system, share=share, frames=frames, spacing="logsnr")[0] <= 0.03
    assert sampled("published", share=share, frames=frames, told=True, spacing="logsnr")[0] <= 0.06


def test_without_the_content_the_published_variant_is_off_by_more_the_longer_the_clip() -> None:
    errors = [sampled("published", frames=frames, steps=100)[0] for frames in (5, 8, 16)]
    assert errors[0] > 0.5
    assert errors[1] > 5 * errors[0]
    assert errors[2] > 5 * errors[1]


@pytest.mark.parametrize("system", CORRECTS_BASE)
def test_noise_that_a_sampler_adds_is_decomposed_too(system: str) -> None:
    """DDPM's algorithm 1 (Ho et al. 2020; VideoFusion, appendix A), through the composite."""
    plain, _ = sampled("vdm", steps=100, stochastic=True)  # which has the sampler's own error alone
    error, correlation = sampled(system, steps=100, stochastic=True)
    assert error < plain + 0.005
    assert correlation < -0.99


@pytest.mark.parametrize("system", [variant for variant in VARIANTS if variant != "image-first"])
def test_the_base_noise_decides_in_every_frame(system: str) -> None:
    """Frames other than the middle one change with the base noise by a tenth of their own deviation, or more."""
    assert sampled(system, steps=50, other_base_noise=True)[0] >= 0.1
