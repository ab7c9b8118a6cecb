"""From a recipe to what tells VideoFusion's ``published`` variant the middle frame: image encoder and prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame
from videofusion.diffusion.noise import base_frame
from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.priors import load_prior
from videofusion.networks.prior import Prior, TransformerPrior, transformer_sizes

if TYPE_CHECKING:
    from videofusion.systems.build import Parts


def frame_embedding(parts: Parts, image_encoder: str | None, prior: str | None) -> FrameEmbedding:
    """What tells the generators of a recipe the middle frame.

    Args:
        parts: what the recipe gives.
        image_encoder: folder of the encoder; a small one of fixed weights when None.
        prior: "transformer", or a folder; a small network when None.

    Raises:
        InputError: a folder that holds no such model; parts that do not fit each other.
    """
    encoder: FrameEncoder | FrozenFrames = (
        parts.frame_encoder() if image_encoder is None else load_image_encoder(image_encoder, empty=parts.counted)
    )
    size, space = parts.recipe.text.size, parts.common.space
    if prior is None:
        return FrameEmbedding(encoder, Prior(size=encoder.size, text_size=size), None, space)
    if prior == "transformer":
        sizes = transformer_sizes(encoder.size, size, parts.text.length)
        return FrameEmbedding(encoder, TransformerPrior(sizes=sizes, text_size=size), None, space)
    if image_encoder is None:
        raise InputError(
            f"recipe key system.prior is {prior}, which makes embeddings of CLIP's; set system.image_encoder to "
            "that CLIP"
        )
    made, text = load_prior(prior, empty=parts.counted)
    if made.size != encoder.size:
        raise InputError(
            f"recipe key system.prior is {prior}, which makes embeddings of size {made.size}, but those of "
            f"system.image_encoder {image_encoder} have the size {encoder.size}"
        )
    return FrameEmbedding(encoder, made, text, space)


def measure_embeddings(told: FrameEmbedding, parts: Parts) -> None:
    """Bring a transformer that is trained here to the mean and deviation of CLIP's embeddings of the training clips.

    Another prior needs none: the small image encoder's embeddings have mean 0 and variance 1, and the folder of a
    trained prior has its own.

    Args:
        told: changed in place.
        parts: what the recipe and its data give.

    Raises:
        InputError: fewer than two clips.
    """
    encoder, prior = told.image_encoder, told.prior
    if not (isinstance(encoder, FrozenFrames) and isinstance(prior, TransformerPrior) and told.text is None):
        return
    if parts.recipe.start.model is not None or encoder.model.device.type == "meta":
        return
    encoder.model.to(parts.device or encoder.model.device)
    place, space = encoder.model.device, parts.common.space
    found = [embed_frame(encoder, space, clip[:, base_frame(clip.shape[1])].to(place)).cpu() for clip in parts.clips()]
    if len(found) < 2:
        raise InputError(
            f"data has {len(found)} readable clips among the first 256; system.prior=transformer needs two at least, "
            "whose embeddings it is brought to the range of"
        )
    prior.measure(torch.cat(found))
