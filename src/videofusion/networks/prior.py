"""Priors: diffusion models over the central frame's embedding, told the text (VideoFusion, sec. 4; DALL-E 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, PriorTransformer
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.errors import InputError
from videofusion.networks.layers import Embedding, normalised, sinusoidal


class TextPool(nn.Module):
    """One embedding of a text: the mean of its tokens, weighed by a learned query once it has learned one.

    No one token will do for every text encoder: CLIP is causal, and its first token the same for every text.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(size))

    def forward(self, text: Tensor, mask: Tensor | None) -> Tensor:
        """Args: text [b l d]; mask, the tokens that count [b l], all when None."""
        scores = text @ self.query / self.query.numel() ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return (scores.softmax(dim=-1)[..., None] * text).sum(dim=1)


class PriorBlock(nn.Module):
    """Residual two-layer network whose norm is scaled and shifted by the condition; the identity at initialisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Args: x [b w]; told [b w], time and text through SiLU."""
        scale, shift = self.modulation(told).chunk(2, dim=-1)
        return x + self.outer(F.gelu(self.inner(self.norm(x) * (1 + scale) + shift)))


class Prior(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual network over embeddings, the small prior; the empty text is the null condition.

    Args:
        size: of the embedding.
        text_size: of the text's token embeddings.
        width: of the hidden layers, even.
        depth: residual blocks.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, *, size: int = 128, text_size: int = 128, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        self.size, self.text_size = size, text_size
        self.time_embedding = Embedding(width, width)
        self.pool = TextPool(text_size)
        self.text_embedding = nn.Linear(text_size, width)
        self.inlet = nn.Linear(size, width)
        self.blocks = nn.ModuleList(PriorBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, size)

    def standard(self, embedding: Tensor) -> Tensor:
        """What the diffusion is over, of an embedding [b d]: about mean 0 and variance 1."""
        return normalised(embedding)

    def natural(self, standard: Tensor) -> Tensor:
        """The embedding [b d] of what the diffusion made."""
        return normalised(standard)

    def forward(
        self, z: Tensor, time: Tensor, *, text: Tensor, text_mask: Tensor | None = None, temporal: float = 1.0
    ) -> Tensor:
        """Predict, whatever the prediction means.

        Args:
            z: noisy embedding [b d].
            time: what the schedule's `network_time` gives, [b].
            text: token embeddings [b l d].
            text_mask: tokens that count [b l].
            temporal: not read: an embedding has no frames.

        Returns:
            [b d].
        """
        told = self.time_embedding(sinusoidal(time, self.config.width).to(z.dtype))
        told = told + self.text_embedding(self.pool(text, text_mask))
        x = self.inlet(z)
        for block in self.blocks:
            x = block(x, F.silu(told))
        return self.outlet(self.norm(x))


class TransformerPrior(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """diffusers' `PriorTransformer`, DALL-E 2's prior: it predicts the clean embedding, at unit variance per entry.

    Args:
        sizes: configuration of the `PriorTransformer`, which `transformer_sizes` makes too.
        text_size: of the token embeddings that it is trained to read here; None for one that reads its own text
            encoder, tokens and pooled text as they are.
        bound: largest size of an entry of the clean embedding at sampling; None for any.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, *, sizes: Mapping[str, Any], text_size: int | None = None, bound: float | None = None) -> None:
        super().__init__()
        self.transformer = PriorTransformer(**sizes)
        self.size, self.text_size = self.transformer.config.embedding_dim, text_size
        self.pool = None if text_size is None else TextPool(text_size)
        self.inlet = None if text_size in (None, self.size) else nn.Linear(text_size, self.size)
        for name, value in (("clip_mean", 0.0), ("clip_std", 1.0)):  # measured, never trained
            delattr(self.transformer, name)
            self.transformer.register_buffer(name, torch.full((1, self.size), value))
        # kept with the weights: a part of ours is made without numbers, and filled with those of its file
        self.transformer.register_buffer("causal_attention_mask", self.transformer.causal_attention_mask)

    def standard(self, embedding: Tensor) -> Tensor:
        """What the diffusion is over, of an embedding [b d]: about mean 0 and variance 1."""
        return (embedding - self.transformer.clip_mean) / self.transformer.clip_std

    def natural(self, standard: Tensor) -> Tensor:
        """The embedding [b d] of what the diffusion made."""
        return standard * self.transformer.clip_std + self.transformer.clip_mean

    def measure(self, embeddings: Tensor) -> None:
        """Take mean and deviation of each entry from embeddings [n d] of the training clips, n at least 2."""
        deviation, mean = torch.std_mean(embeddings.float(), dim=0, keepdim=True)
        self.transformer.clip_mean.copy_(mean)
        # clips that are all alike leave nothing to divide by
        self.transformer.clip_std.copy_(deviation.clamp_min(1e-3 * embeddings.std().clamp_min(1e-6)))

    def forward(
        self,
        z: Tensor,
        time: Tensor,
        *,
        text: Tensor,
        text_mask: Tensor | None = None,
        pooled_text: Tensor | None = None,
        temporal: float = 1.0,
    ) -> Tensor:
        """Predict the clean embedding.

        Args:
            z: noisy embedding [b d].
            time: what the schedule's `network_time` gives, [b].
            text: token embeddings [b l d], l at most the transformer's `num_embeddings`.
            text_mask: tokens that count [b l], all when None.
            pooled_text: of the whole text [b d], for a prior that reads its own text encoder.
            temporal: not read: an embedding has no frames.

        Returns:
            [b d].

        Raises:
            InputError: a longer text, or no pooled text where it is needed.
        """
        mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device) if text_mask is None else text_mask
        if self.pool is not None:
            pooled_text = self.pool(text, mask)
        if pooled_text is None:
            raise InputError("pooled_text is not given; this prior was made to read it")
        text = text if self.inlet is None else self.inlet(text)
        left = self.transformer.config.num_embeddings - text.shape[1]
        if left < 0:
            raise InputError(
                f"text has {text.shape[1]} tokens; this prior takes at most {self.transformer.config.num_embeddings}"
            )
        return self.transformer(
            z,
            time,
            proj_embedding=pooled_text,
            encoder_hidden_states=F.pad(text, (0, 0, 0, left)),
            attention_mask=F.pad(mask, (0, left)),
        ).predicted_image_embedding


def transformer_sizes(size: int, text_size: int, tokens: int) -> dict[str, Any]:
    """Configuration of a `PriorTransformer` that is trained here: six layers, about as wide as the embedding.

    Args:
        size: of the embedding.
        text_size: of the text's token embeddings.
        tokens: most of a text.
    """
    return {
        "num_attention_heads": max(1, size // 64),
        "attention_head_dim": 64,
        "num_layers": 6,
        "embedding_dim": size,
        "num_embeddings": tokens,
        "embedding_proj_dim": text_size,
    }
