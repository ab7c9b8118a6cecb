"""The prior in training and at sampling: diffusion over the central frame's embedding (VideoFusion, sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser, NetworkDenoiser
from videofusion.diffusion.grids import times
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.noise import Keys
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.diffusion.samplers import ddim, ddpm
from videofusion.diffusion.schedules import make_schedule
from videofusion.keys import Stream, normal
from videofusion.networks.prior import Prior, TransformerPrior

PRIOR_STEPS = 20  # of the sampler: its network costs next to nothing beside the generators
TRANSFORMER_STEPS = 25  # of the transformer's, as in DALL-E 2's public remakes
EMBEDDING_NOISE = 0.1  # on the embedding that the generators are trained with: it may hold nothing finer


def is_trained(prior: nn.Module) -> bool:
    """Whether a step of training changes anything in it."""
    return any(parameter.requires_grad for parameter in prior.parameters())


def prior_denoiser(prior: Prior | TransformerPrior) -> NetworkDenoiser:
    """The prior as a denoiser of embeddings [b d]: the small one's v, the transformer's clean embedding."""
    if isinstance(prior, TransformerPrior):
        return NetworkDenoiser(prior, make_schedule("squared_cosine"), "x0")
    return NetworkDenoiser(prior, make_schedule("cosine"), "v")


def prior_conditions(conditions: Conditions, text: FrozenText | None, captions: Sequence[str]) -> Conditions:
    """The condition of a prior: the text, by the generators' text encoder or by one of its own.

    Args:
        conditions: of the generators.
        text: the prior's own text encoder, if it has one.
        captions: of the clips; "" for none.
    """
    if text is None:
        return Conditions(text=conditions.text, text_mask=conditions.text_mask, null=conditions.null)
    names = ("text", "text_mask", "pooled_text")
    found = dict(zip(names, text.encode_pooled(["", *captions]), strict=True))
    null = {name: value[:1] for name, value in found.items()}
    return Conditions(**{name: value[1:] for name, value in found.items()}, null=null)  # type: ignore[arg-type]


def prior_errors(
    prior: Prior | TransformerPrior, embedding: Tensor, t: Tensor, conditions: Conditions, keys: Keys, step: int
) -> Tensor:
    """Squared errors of what the prior predicts, its loss.

    Args:
        prior: in training.
        embedding: of the central frames [b d]; no gradient goes into it.
        t: times [b].
        conditions: see `prior_conditions`.
        keys: of the clips.
        step: of the training.

    Returns:
        [b].
    """
    x0 = prior.standard(embedding.detach())
    eps = _normal(keys.content, Stream.PRIOR, step + 1, x0)
    denoiser = prior_denoiser(prior)
    alpha, sigma = (expand(scale, x0) for scale in denoiser.schedule.alpha_sigma(t))
    found = denoiser(alpha * x0 + sigma * eps, t, conditions)
    error = found.x0 - x0 if denoiser.prediction == "x0" else found.v - (alpha * eps - sigma * x0)
    return error.square().mean(dim=1)


def augmented(embedding: Tensor, keys: Keys, step: int) -> Tensor:
    """The embedding [b d] with a little noise, as generators are trained, for what a prior makes is never exact."""
    return embedding + EMBEDDING_NOISE * _normal(keys.content, Stream.EMBEDDING, step + 1, embedding)


def sample_prior(prior: Prior | TransformerPrior, conditions: Conditions, keys: Keys, guidance: float) -> Tensor:
    """Embeddings of central frames that fit the text.

    Args:
        prior: trained.
        conditions: see `prior_conditions`.
        keys: of the clips; the content seed alone decides.
        guidance: classifier-free guidance scale, 1 = off.

    Returns:
        [b d].
    """
    denoiser = prior_denoiser(prior)
    guided: Denoiser = ClassifierFree(denoiser, guidance)
    like = torch.empty(len(keys.content), prior.size, device=prior.device, dtype=prior.dtype)

    def noise(step: int) -> Tensor:
        return _normal(keys.content, Stream.PRIOR, step, like)

    schedule = denoiser.schedule
    if isinstance(prior, TransformerPrior):
        bounded, stops = _Bounded(guided, prior.config.bound), unclip_times(TRANSFORMER_STEPS)
        made = ddpm(bounded, noise(0), stops, schedule=schedule, noise=noise, conditions=conditions)
    else:
        made = ddim(guided, noise(0), times(schedule, PRIOR_STEPS), schedule=schedule, conditions=conditions)
    return prior.natural(made)


def unclip_times(steps: int) -> Tensor:
    """Times of a sampler [steps + 1] of diffusers' `UnCLIPScheduler`: even from n = 999 to n = 0, then no noise."""
    numbers = torch.linspace(999, 0, steps, dtype=torch.float64).round()
    return torch.cat([(numbers + 1) / 1000, torch.zeros(1)]).float()


class _Bounded:
    """A denoiser whose clean embedding has no entry beyond a bound; any has, where that is None."""

    def __init__(self, denoiser: Denoiser, bound: float | None) -> None:
        self.denoiser, self.bound = denoiser, bound

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        found = self.denoiser(z, t, conditions)
        return found if self.bound is None else found.with_x0(found.x0.clamp(-self.bound, self.bound))


def _normal(keys: Sequence[int], stream: Stream, step: int, like: Tensor) -> Tensor:
    return normal(keys, stream, step, [0], like.shape[1:], like.device)[:, 0].to(like)
