"""The prior in training and at sampling: diffusion over the central frame's embedding (VideoFusion, sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videofusion.conditioning.image import normalised
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.noise import Keys
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.samplers import ddim
from videofusion.diffusion.schedules import make_schedule, times
from videofusion.keys import Stream, normal
from videofusion.networks.prior import Prior

PRIOR_STEPS = 20  # of the sampler: its network costs next to nothing beside the generators
EMBEDDING_NOISE = 0.1  # on the embedding that the generators are trained with: it may hold nothing finer


def prior_denoiser(prior: Prior) -> NetworkDenoiser:
    """The prior as a denoiser of embeddings [b d]: cosine schedule, v-prediction."""
    return NetworkDenoiser(prior, make_schedule("cosine"), "v")


def prior_errors(prior: Prior, embedding: Tensor, t: Tensor, conditions: Conditions, keys: Keys, step: int) -> Tensor:
    """Squared errors of v, the prior's loss.

    Args:
        prior: in training.
        embedding: of the central frames [b d]; no gradient goes into it.
        t: times [b].
        conditions: with the text.
        keys: of the clips.
        step: of the training.

    Returns:
        [b].
    """
    x0 = embedding.detach()
    eps = _normal(keys.content, Stream.PRIOR, step + 1, x0)
    denoiser = prior_denoiser(prior)
    alpha, sigma = (expand(scale, x0) for scale in denoiser.schedule.alpha_sigma(t))
    v = denoiser(alpha * x0 + sigma * eps, t, _text_of(conditions)).v
    return (v - (alpha * eps - sigma * x0)).square().mean(dim=1)


def augmented(embedding: Tensor, keys: Keys, step: int) -> Tensor:
    """The embedding [b d] with a little noise, as generators are trained, for what a prior makes is never exact."""
    return embedding + EMBEDDING_NOISE * _normal(keys.content, Stream.EMBEDDING, step + 1, embedding)


def sample_prior(prior: Prior, conditions: Conditions, keys: Keys, guidance: float) -> Tensor:
    """Embeddings of central frames that fit the text.

    Args:
        prior: trained.
        conditions: with the text and its null value.
        keys: of the clips; the content seed alone decides.
        guidance: classifier-free guidance scale, 1 = off.

    Returns:
        [b d].
    """
    denoiser = prior_denoiser(prior)
    like = torch.empty(len(keys.content), prior.config.size, device=prior.device, dtype=prior.dtype)
    z = _normal(keys.content, Stream.PRIOR, 0, like)
    stops = times(denoiser.schedule, PRIOR_STEPS)
    told = _text_of(conditions)
    return normalised(ddim(ClassifierFree(denoiser, guidance), z, stops, schedule=denoiser.schedule, conditions=told))


def _text_of(conditions: Conditions) -> Conditions:
    return Conditions(text=conditions.text, text_mask=conditions.text_mask, null=conditions.null)


def _normal(keys: Sequence[int], stream: Stream, step: int, like: Tensor) -> Tensor:
    return normal(keys, stream, step, [0], like.shape[1:], like.device)[:, 0].to(like)
