"""From a recipe to what tells VideoFusion's ``published`` variant the middle frame: image encoder and prior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame
from videofusion.conditioning.text import WordEncoder
from videofusion.diffusion.noise import base_frame
from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.priors import load_prior
from videofusion.networks.autoencoder import Latents, Pixels
from videofusion.networks.prior import Prior, TransformerPrior, transformer_sizes
from videofusion.recipes.recipe import Recipe


@dataclass(frozen=True)
class EmbeddingParts:
    """The parts; nothing for the variants that are told no embedding.

    Args:
        image_encoder: of middle frames.
        prior: over its embeddings.
        prior_text: the prior's own text encoder, if it has one.
    """

    image_encoder: FrameEncoder | FrozenFrames | None = None
    prior: Prior | TransformerPrior | None = None
    prior_text: FrozenText | None = None

    @property
    def size(self) -> int | None:
        """Of the embedding."""
        return None if self.image_encoder is None else self.image_encoder.size


def frame_encoder(recipe: Recipe, colours: int) -> FrameEncoder:
    """The small image encoder of a recipe, for frames of so many colours."""
    return FrameEncoder(size=recipe.text_dim, in_channels=colours)


def embedding_parts(recipe: Recipe, colours: int, text_encoder: WordEncoder | FrozenText) -> EmbeddingParts:
    """What tells the generators of a recipe the middle frame.

    Args:
        recipe: of the variant "published".
        colours: channels of what its clips live in.
        text_encoder: that the generators read.

    Raises:
        InputError: a folder that holds no such model; parts that do not fit each other.
    """
    empty = torch.get_default_device().type == "meta"
    encoder: FrameEncoder | FrozenFrames = (
        frame_encoder(recipe, colours)
        if recipe.image_encoder is None
        else load_image_encoder(recipe.image_encoder, empty=empty)
    )
    theirs = recipe.prior not in (None, "transformer")
    if not theirs:
        return EmbeddingParts(encoder, _own_prior(recipe, encoder.size, text_encoder))
    if recipe.image_encoder is None:
        raise InputError(
            f"recipe key prior is {recipe.prior}, which makes embeddings of CLIP's; set image_encoder to that CLIP"
        )
    prior, text = load_prior(str(recipe.prior), empty=empty)
    if prior.size != encoder.size:
        raise InputError(
            f"recipe key prior is {recipe.prior}, which makes embeddings of size {prior.size}, but those of "
            f"image_encoder {recipe.image_encoder} have the size {encoder.size}"
        )
    return EmbeddingParts(encoder, prior, text)


def _own_prior(recipe: Recipe, size: int, text_encoder: WordEncoder | FrozenText) -> Prior | TransformerPrior:
    if recipe.prior is None:
        return Prior(size=size, text_size=recipe.text_dim)
    sizes = transformer_sizes(size, recipe.text_dim, text_encoder.length)
    return TransformerPrior(sizes=sizes, text_size=recipe.text_dim)


def measure_embeddings(
    parts: EmbeddingParts, recipe: Recipe, space: Pixels | Latents, clips: Iterable[Tensor], device: torch.device | None
) -> None:
    """Bring a transformer that is trained here to the mean and deviation of CLIP's embeddings of the training clips.

    Another prior needs none: the small image encoder's embeddings have mean 0 and variance 1, and the folder of a
    trained prior has its own.

    Args:
        parts: changed in place.
        recipe: of the run.
        space: where the clips live.
        clips: [1 t c h w] each.
        device: where to compute.

    Raises:
        InputError: fewer than two clips.
    """
    encoder, prior = parts.image_encoder, parts.prior
    if not (isinstance(encoder, FrozenFrames) and isinstance(prior, TransformerPrior) and parts.prior_text is None):
        return
    if recipe.pretrained is not None or encoder.model.device.type == "meta":
        return
    encoder.model.to(device or encoder.model.device)
    place = encoder.model.device
    found = [embed_frame(encoder, space, clip[:, base_frame(clip.shape[1])].to(place)).cpu() for clip in clips]
    if len(found) < 2:
        raise InputError(
            f"data has {len(found)} readable clips among the first 256; prior=transformer needs two at least, whose "
            "embeddings it is brought to the range of"
        )
    prior.measure(torch.cat(found))
