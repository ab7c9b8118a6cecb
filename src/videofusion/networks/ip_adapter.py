"""Pictures as prompts: IP-Adapter (Ye et al. 2023), attention to an image's tokens beside that to the text's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.diffusion.conditions import Conditions
from videofusion.networks.layers import Attention, TransformerBlock, attend
from videofusion.networks.unet import UNet


class ImageTokens(nn.Module):
    """An image's embedding as tokens beside the text's.

    Args:
        image_size: of the embedding.
        text_size: of a token.
        count: of tokens.
    """

    def __init__(self, image_size: int, text_size: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.proj = nn.Linear(image_size, count * text_size)
        self.norm = nn.LayerNorm(text_size)

    def forward(self, embedding: Tensor) -> Tensor:
        """Args: embedding [b d]. Returns: [b count text_size]."""
        return self.norm(self.proj(embedding).unflatten(-1, (self.count, -1)))

    def conditions(self, conditions: Conditions, embedding: Tensor) -> Conditions:
        """Conditions with an image beside the text.

        Args:
            conditions: with a text, for a U-Net that `add_image_attention` changed.
            embedding: of an image for each clip, or of one for all, by CLIP [b d]. The null text is told an embedding
                of zeros.
        """
        assert conditions.text is not None  # which is what the image stands beside
        tokens = self(embedding).expand(len(conditions.text), -1, -1)
        null = dict(conditions.null)
        text = null.get("text")
        if isinstance(text, Tensor):
            nothing = self(torch.zeros_like(embedding[:1])).expand(len(text), -1, -1)
            null["text"] = torch.cat([text, nothing], dim=1)
        return replace(conditions, text=torch.cat([conditions.text, tokens], dim=1), null=null)


class ImageAttention(Attention):
    """Attention to a text, as it was, and to an image's tokens that follow it, with keys and values of their own.

    Args:
        own: the attention to the text, whose layers it takes over.
        tokens: of the image.
        scale: how much the image counts; 1 is as trained, 0 nothing.
    """

    def __init__(self, own: Attention, tokens: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.heads, self.tokens, self.scale = own.heads, tokens, scale
        self.to_q, self.to_k, self.to_v, self.to_out = own.to_q, own.to_k, own.to_v, own.to_out
        self.to_k_ip = nn.Linear(own.to_k.in_features, own.to_k.out_features, bias=False)
        self.to_v_ip = nn.Linear(own.to_v.in_features, own.to_v.out_features, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Args: x [n l c]; context [m k d] with the image's tokens last; mask bool of the text [m k - tokens]."""
        assert context is not None  # a block without a context has no such attention
        text, image = context[:, : -self.tokens], context[:, -self.tokens :]
        out = super().forward(x, text, mask)
        if self.scale == 0:
            return out
        q = self.to_q(x).reshape(len(context), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)
        k, v = (layer(image).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_k_ip, self.to_v_ip))
        seen = attend(q, k, v).transpose(1, 2).reshape(x.shape)
        last: Any = self.to_out[0]
        return out + self.scale * F.linear(seen, last.weight)


def text_blocks(unet: UNet) -> list[TransformerBlock]:
    """A U-Net's blocks that look at the text, in the order in which files of IP-Adapter have their weights."""
    places = (unet.down_blocks, unet.up_blocks, unet.mid_block)
    blocks = [block for place in places for block in place.modules() if isinstance(block, TransformerBlock)]
    return [block for block in blocks if block.attn2 is not None]


def add_image_attention(unet: UNet, tokens: int, scale: float = 1.0) -> list[ImageAttention]:
    """Have a U-Net's attention to the text look at an image's tokens too.

    Args:
        unet: changed in place, for sampling: its configuration does not say it.
        tokens: of the image, which follow the text's.
        scale: see `ImageAttention`.

    Returns:
        what was put in, for each of `text_blocks`.
    """
    found = []
    for block in text_blocks(unet):
        assert block.attn2 is not None  # they are those that have one
        put = ImageAttention(block.attn2, tokens, scale)
        block.attn2 = put.to(block.attn2.to_q.weight)
        found.append(put)
    return found
