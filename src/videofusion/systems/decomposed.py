"""VideoFusion's denoiser: base generator and residual generator as one (Luo et al. 2023).

Each frame's noise is a base noise shared by the clip plus a residual noise of its own (eq. 7). A base generator, any
image diffusion model, predicts the base noise from the middle frame, once per clip (eq. 11); it is taken out of every
frame (eq. 12), and a smaller residual generator predicts what is left (eq. 13).

Four variants (docs/videofusion.md has the reasons):

- ``framewise``: the residual generator sees one frame and its number, as the text of the paper reads.
- ``published``: it has temporal attention; both generators are told an embedding of the middle frame, which a prior
  makes at sampling.
- ``corrected``, ours: it has temporal attention, sees the base generator's clean middle frame beside every noisy frame,
  and corrects that middle frame too, so that the whole is a joint predictor and needs neither embedding nor prior.
- ``image-first``, ours, what recipes take unless told otherwise: the base generator finishes the middle frame first,
  from the base noise alone; the residual generator, with temporal attention, sees it clean beside every frame. The base
  noise is then known, not estimated, and the chain rule, p(middle frame) p(others | middle frame), makes it all exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.noise import base_frame
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError

VARIANTS = ("image-first", "corrected", "framewise", "published")
SEES_MIDDLE = ("image-first", "corrected")  # whose residual generator sees the middle frame beside every frame


class VideoFusion:
    """Base generator and residual generator as one Denoiser.

    Args:
        base: an image network, called with one-frame clips.
        residual: a video network (frame by frame for "framewise"); with twice the channels in for `SEES_MIDDLE`.
        schedule: that the base was trained for.
        base_prediction: what the base predicts: "eps", "x0", "v" or "flow".
        residual_prediction: the same for the residual generator, of the residual process.
        variant: one of `VARIANTS`.
        stop_gradient: keep the other frames' losses from the base (eq. 14); "image-first" has no way for them.

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
        variant: str = "image-first",
        stop_gradient: bool = True,
    ) -> None:
        if variant not in VARIANTS:
            hint = "; that one is called 'image-first' now" if variant == "anchored" else ""
            raise InputError(f"variant is {variant!r}; it must be one of {', '.join(VARIANTS)}{hint}")
        self.base = NetworkDenoiser(base, schedule, base_prediction)
        self.residual = residual
        self.schedule = schedule
        self.residual_prediction = residual_prediction
        self.variant = variant
        self.stop_gradient = stop_gradient

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        """Predict; see `Denoiser`.

        Args:
            z: noisy clip [b t c h w].
            t: time [b].
            conditions: of the clips, with `share`, 1 at the base frame, and for "image-first" with `middle_frame`.

        Raises:
            InputError: one of these is not given.
        """
        if self.variant != "image-first":
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
            conditions: of the clips, with `share`, and for "image-first" with `middle_frame`.
            clean: for "image-first", the frame that z was made from [b 1 c h w], unless it is the conditions'.
            every: have the base generator predict every frame by itself [b t c h w], for training: the base frame is
                what the composite is made of all the same.

        Raises:
            InputError: one of these is not given.
        """
        middle = base_frame(z.shape[1])
        alone = slice(middle, middle + 1)
        base = (
            self.base(z, t, conditions) if every else self.base(z[:, alone], t, conditions.window(middle, middle + 1))
        )
        if self.variant == "image-first":
            return base, self(z, t, conditions) if clean is None else self.around(z, t, conditions, clean)
        found = base.x0[:, alone] if every else base.x0
        return base, self.around(z, t, conditions, found.detach() if self.stop_gradient else found)

    def around(self, z: Tensor, t: Tensor, conditions: Conditions, clean: Tensor) -> Prediction:
        """The composite's prediction, given what is taken for the clean middle frame.

        Args:
            z: noisy clip [b t c h w].
            t: time [b].
            conditions: of the clips, with `share`.
            clean: the base generator's estimate, or the frame itself [b 1 c h w]; "image-first" shows the residual
                generator the middle frame of the conditions instead, if they have one.

        Raises:
            InputError: no share is given.
        """
        if conditions.share is None:
            raise InputError("share is not given; VideoFusion needs it for every frame")
        middle = base_frame(z.shape[1])
        z_base = z[:, middle : middle + 1]
        alpha, sigma = (expand(scale, z) for scale in self.schedule.alpha_sigma(t))
        share = expand(conditions.share, z)

        # eq. 12 with the base noise written as (z^m - alpha x^m) / sigma, so that nothing is divided by sigma
        rest = z - share.sqrt() * (z_base - alpha * clean)
        # the residual process: rest = alpha x + sigma sqrt(1 - share) r, scaled to unit power
        own_sigma = sigma * (1 - share).sqrt()
        power = (alpha.square() + own_sigma.square()).sqrt().clamp_min(1e-6)
        # frames that share everything are the base frame: their rest is alpha x^m, and nothing of it is noise
        shared = share >= 1
        # at no signal either, where 0 / 0 would make the gradients of frames that do not read it no numbers
        alpha_r, sigma_r = torch.where(shared, 1.0, alpha / power), own_sigma / power
        shown = (
            conditions.middle_frame if self.variant == "image-first" and conditions.middle_frame is not None else clean
        )
        seen = torch.where(shared, shown, rest / power)
        if self.variant == "corrected":
            seen = torch.where(shared, z, seen)  # the base frame is shown as it is: its estimate stands beside it
        if self.variant in SEES_MIDDLE:
            seen = torch.cat([seen, shown.expand_as(z)], dim=2)
        # that process is plain diffusion, only less noisy: frames are told the time at which it stands
        time = self.schedule.time_at(2 * (alpha / own_sigma).log())[:, :, 0, 0, 0]
        time = torch.where(conditions.share >= 1, t[:, None] if self.variant == "corrected" else 0.0, time)
        told = conditions.given()
        temporal = 0.0 if self.variant == "framewise" else conditions.temporal
        output = self.residual(seen, self.schedule.network_time(time), temporal=temporal, **told)
        x0 = Prediction.of(self.residual_prediction, output, rest / power, alpha_r, sigma_r).x0
        x0_shared = clean + sigma * output if self.variant == "corrected" else clean
        return Prediction(z, z, z, alpha, sigma).with_x0(torch.where(shared, x0_shared, x0))
