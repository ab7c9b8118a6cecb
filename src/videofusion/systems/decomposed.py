"""VideoFusion's denoiser: base generator and residual generator as one (Luo et al. 2023).

Each frame's noise is a base noise shared by the clip plus a residual noise of its own (eq. 7). A base generator, any
image diffusion model, predicts the base noise from the base frame, once per clip (eq. 11); a smaller residual generator
predicts what is left in the other frames (eq. 12 and 13).

Variants (docs/videofusion.md has the reasons, and which noise each of them reads):

- ``framewise``: the residual generator sees one frame and its number, as the text of the paper reads.
- ``published``: it has temporal attention; both generators are told an embedding of the base frame, which a prior makes
  at sampling.
- ``corrected``, ours: it has temporal attention, sees the base generator's estimate of the base frame beside every
  noisy frame, and corrects that estimate too, so that the whole is a joint predictor and needs no embedding.
- ``joint``, ours: as ``corrected``, but the noisy frames are shown as what they have beyond the base frame, which is
  plain diffusion of (x^m, Δx^1, ..., Δx^N) with independent noise. That is computed from the noisy clip alone.
- ``image-first``, ours, and no decomposed noise: an image model makes the base frame, and image-to-video diffusion with
  independent noise makes the others around it. What the base noise was, they cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.noise import base_frame
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a variant shows the residual generator, and who decides the base frame.

    Args:
        noisy: how frames are shown: "without" the base noise (eq. 12), or as what they have "beyond" the base frame.
        beside: the base frame stands beside every noisy frame.
        embedding: both generators are told an embedding of the base frame.
        frames_apart: the residual generator sees one frame at a time.
        decides: the base frame is as the "base" generator estimates it, as "both" generators do, or "given": made, or
            known, before the others.
    """

    noisy: Literal["without", "beyond"] = "without"
    beside: bool = False
    embedding: bool = False
    frames_apart: bool = False
    decides: Literal["base", "both", "given"] = "base"

    def temporal(self, design: str) -> str:
        """The row of the residual generator, where a recipe says `design`."""
        return "framewise" if self.frames_apart else design


VARIANTS = {
    "joint": Variant(noisy="beyond", beside=True, decides="both"),
    "corrected": Variant(beside=True, decides="both"),
    "published": Variant(embedding=True),
    "framewise": Variant(frames_apart=True),
    "image-first": Variant(beside=True, decides="given"),
}


class ResidualProcess(NamedTuple):
    """What the residual generator denoises: plain diffusion by the schedule, at a time of its own in every frame.

    Args:
        z: noisy frames [b t c h w].
        alpha: scale of what is clean in them, broadcast to z.
        sigma: scale of the noise in them, broadcast to z.
        time: at which the schedule has these scales [b t].
    """

    z: Tensor
    alpha: Tensor
    sigma: Tensor
    time: Tensor


class VideoFusion:
    """Base generator and residual generator as one Denoiser.

    Args:
        base: an image network, called with one-frame clips.
        residual: a video network; with twice the channels in for a variant that shows the base frame beside.
        schedule: that the base was trained for.
        base_prediction: what the base predicts: "eps", "x0", "v" or "flow".
        residual_prediction: the same for the residual generator, of the residual process.
        variant: a key of `VARIANTS`.
        stop_gradient: keep the other frames' losses from the base (eq. 14); where the base frame is given, there is no
            way for them.

    Raises:
        InputError: an unknown variant.
    """

    def __init__(
        self,
        base: nn.Module,
        residual: nn.Module,
        schedule: Schedule,
        *,
        base_prediction: str = "v",
        residual_prediction: str = "v",
        variant: str = "joint",
        stop_gradient: bool = True,
    ) -> None:
        self.variant = get_variant(variant)
        self.base = NetworkDenoiser(base, schedule, base_prediction)
        self.residual = residual
        self.schedule = schedule
        self.residual_prediction = residual_prediction
        self.stop_gradient = stop_gradient

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        """Predict; see `Denoiser`.

        Args:
            z: noisy clip [b t c h w].
            t: time [b].
            conditions: of the clips, with `share`, 1 at the base frame, and with `middle_frame` where that is given.

        Raises:
            InputError: one of these is not given, or no frame is the base frame.
        """
        if self.variant.decides != "given":
            return self.predict(z, t, conditions)[1]
        if conditions.middle_frame is None:
            raise InputError("middle_frame is not given; the variant 'image-first' needs the clean middle frame")
        return self.around(z, t, conditions, conditions.middle_frame)

    def predict(
        self, z: Tensor, t: Tensor, conditions: Conditions, clean: Tensor | None = None, every: bool = False
    ) -> tuple[Prediction, Prediction]:
        """The base generator's prediction of the base frame [b 1 c h w], and the composite's of the clip [b t c h w].

        Args:
            z: noisy clip [b t c h w].
            t: time [b].
            conditions: of the clips, with `share`, and with `middle_frame` where the base frame is given.
            clean: the frame that z was made from [b 1 c h w], where it is given and not the conditions'.
            every: have the base generator predict every frame by itself [b t c h w], for training: the base frame is
                what the composite is made of all the same.

        Raises:
            InputError: one of these is not given, or no frame is the base frame.
        """
        at = find_base_frame(conditions.share)
        alone = slice(at, at + 1)
        base = self.base(z, t, conditions) if every else self.base(z[:, alone], t, conditions.window(at, at + 1))
        if self.variant.decides == "given":
            return base, self(z, t, conditions) if clean is None else self.around(z, t, conditions, clean)
        found = base.x0[:, alone] if every else base.x0
        return base, self.around(z, t, conditions, found.detach() if self.stop_gradient else found)

    def around(self, z: Tensor, t: Tensor, conditions: Conditions, clean: Tensor) -> Prediction:
        """The composite's prediction, given what is taken for the clean base frame.

        Args:
            z: noisy clip [b t c h w].
            t: time [b].
            conditions: of the clips, with `share`.
            clean: the base generator's estimate, or the frame itself [b 1 c h w]; where the base frame is given, the
                residual generator is shown the middle frame of the conditions instead, if they have one.

        Raises:
            InputError: no share is given, or no frame is the base frame; a residual generator that predicts noise,
                where there is no signal.
        """
        at = find_base_frame(conditions.share)
        assert conditions.share is not None  # as `find_base_frame` asks
        alpha, sigma = (expand(scale, z) for scale in self.schedule.alpha_sigma(t))
        if self.residual_prediction == "eps" and not bool(alpha.all()):
            raise InputError(
                "residual_prediction is 'eps', which says nothing of the clip where there is no signal; use v or x0"
            )
        share = expand(conditions.share, z)
        # a frame that shares everything is the base frame: in it nothing is residual noise
        shared = share >= 1
        z_base = z[:, at : at + 1]
        if self.variant.noisy == "beyond":
            process = self._beyond_the_base_frame(z, t, share, z_base, alpha, sigma)
        else:
            process = self._without_base_noise(z, share, z_base - alpha * clean, alpha, sigma)

        shown, known_to = clean, torch.zeros_like(t)
        if self.variant.decides == "given" and conditions.middle_frame is not None:
            shown = conditions.middle_frame
            if conditions.middle_noise is not None:  # alpha x + sigma eps with sigma / alpha that noise
                known_to = self.schedule.time_at(-2 * conditions.middle_noise.log())
        seen, time = process.z, process.time
        if self.variant.decides == "both":  # the base frame is shown as it is: its estimate stands beside it
            seen, time = torch.where(shared, z, seen), torch.where(conditions.share >= 1, t[:, None], time)
        else:
            known = expand(self.schedule.alpha_sigma(known_to)[0], z) * shown
            seen, time = torch.where(shared, known, seen), torch.where(conditions.share >= 1, known_to[:, None], time)
        if self.variant.beside:
            seen = torch.cat([seen, shown.expand_as(z)], dim=2)
        told = conditions.given()
        output = self.residual(seen, self.schedule.network_time(time), temporal=conditions.temporal, **told)

        x0 = Prediction.of(self.residual_prediction, output, process.z, process.alpha, process.sigma).x0
        x0_base = clean + sigma * output[:, at : at + 1] if self.variant.decides == "both" else clean
        if self.variant.noisy == "beyond":  # eq. 6
            x0 = share.sqrt() * x0_base + (1 - share).sqrt() * x0
        return Prediction(z, z, torch.zeros_like(z), alpha, sigma).with_x0(torch.where(shared, x0_base, x0))

    def _beyond_the_base_frame(
        self, z: Tensor, t: Tensor, share: Tensor, z_base: Tensor, alpha: Tensor, sigma: Tensor
    ) -> ResidualProcess:
        """w^i = (z^i - sqrt(λ^i) z^m) / sqrt(1 - λ^i) = alpha Δx^i + sigma r^i (eq. 6, 7): as noisy as the clip."""
        left = torch.where(share < 1, 1 - share, 1.0).sqrt()
        w = (z - share.sqrt() * z_base) / left
        return ResidualProcess(w, alpha, sigma, t[:, None].expand(z.shape[:2]))

    def _without_base_noise(
        self, z: Tensor, share: Tensor, base_noise: Tensor, alpha: Tensor, sigma: Tensor
    ) -> ResidualProcess:
        """z'^i = z^i - sqrt(λ^i) sigma b (eq. 12) = alpha x^i + sigma sqrt(1 - λ^i) r^i, at the schedule's scale.

        `base_noise` is sigma b, which is z^m - alpha x^m, so that nothing is divided by sigma.
        """
        own_sigma = sigma * (1 - share).sqrt()
        # frames that share everything hold no noise, also at no signal: 0 / 0 would make gradients that are no numbers
        alone = share < 1
        # less noisy than the clip: frames are told the time at which their process stands
        time = self.schedule.time_at(2 * torch.where(alone, alpha / own_sigma, torch.inf).log())
        power = torch.hypot(alpha, own_sigma).clamp_min(1e-6)
        power = power / torch.hypot(*self.schedule.alpha_sigma(time))  # which is 1 where variance is preserved
        alpha_r = torch.where(alone, alpha / power, 1.0)
        return ResidualProcess((z - share.sqrt() * base_noise) / power, alpha_r, own_sigma / power, time[:, :, 0, 0, 0])


def get_variant(name: str) -> Variant:
    """The variant of that name; raises InputError where there is none."""
    if name not in VARIANTS:
        hint = "; that one is called 'image-first' now" if name == "anchored" else ""
        raise InputError(f"variant is {name!r}; it must be one of {', '.join(VARIANTS)}{hint}")
    return VARIANTS[name]


def find_base_frame(share: Tensor | None) -> int:
    """The place of the base frame, which shares everything: the middle one of a clip, wherever it is in a window of it.

    Args:
        share: lambda per frame [b t].

    Raises:
        InputError: none is given, or no frame has a share of 1 in all clips.
    """
    if share is None:
        raise InputError("share is not given; VideoFusion needs it for every frame")
    middle = base_frame(share.shape[1])
    everything = (share >= 1).all(dim=0)
    if share.is_meta or bool(everything[middle]):  # what is only counted has no numbers
        return middle
    if not bool(everything.any()):
        raise InputError(
            f"share is at most {float(share.max()):g}; a window of a clip must hold its base frame, whose share is 1"
        )
    return int(everything.nonzero()[0])
