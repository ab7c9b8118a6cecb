"""Text encoders of a pipeline, put together again from its parts."""

from __future__ import annotations

from typing import Any

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.transformer_prompts import TransformerPrompts
from videofusion.networks.image_transformer import ImageTransformer


def frozen_texts(pipeline: Any) -> list[FrozenText]:
    """The text encoders that a pipeline has, in order, each with its tokenizer."""
    found = []
    for suffix in ("", "_2", "_3"):
        model = getattr(pipeline, f"text_encoder{suffix}", None)
        if model is not None:
            found.append(FrozenText(model, getattr(pipeline, f"tokenizer{suffix}")))
    return found


def transformer_prompts(pipeline: Any, network: ImageTransformer) -> TransformerPrompts:
    """The text encoders of a pipeline as an image transformer of its reads them."""
    config = network.config
    return TransformerPrompts(frozen_texts(pipeline), kind=config.kind, tokens=config.tokens, size=network.text_size)
