"""Attention to the middle frame that points at a place: so the residual generator carries shapes over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.device import without_autocast
from videofusion.diffusion.noise import base_frame
from videofusion.networks.layers import GroupNorm, LayerInputs


class PointedAttention(nn.Module):
    """Attention from every place of every frame to the middle frame, around a place that is pointed at.

    A thing that has moved is found in the middle frame at another place. How far away that is, each head predicts from
    what it sees at its own place and from what the frame is told (its number and the text, so a course), and looks
    there through a Gaussian window whose width it predicts too (the spatial prior of Gao et al. 2021, "Fast convergence
    of DETR with spatially modulated co-attention", sec. 3.2, seen from every place rather than from an object). It
    returns what it adds, at initialisation nothing.

    Args:
        channels: of the features.
        heads: of the attention.
        groups: of the norm.
        told_size: of the embedding of each frame's conditions.
    """

    def __init__(self, channels: int, heads: int, groups: int, told_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(channels, 2 * channels, bias=False)
        # down, right, and the logarithm of how much narrower than at initialisation the window is
        self.point_place = nn.Linear(channels, 3 * heads)
        self.point_frame = nn.Linear(told_size, 3 * heads, bias=False)
        self.to_out = nn.Linear(channels, channels)
        for layer in (self.point_place, self.point_frame, self.to_out):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.point_place.bias)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """What the middle frame shows at the places pointed at.

        Args:
            x: features [(b t) c h w].
            inputs: of which only the embedding of each frame is read, its number included.
        """
        b, t = inputs.clip_shape
        c, h, w = x.shape[1:]
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, t, h * w, c)
        points = self.point_place(tokens) + self.point_frame(inputs.time).reshape(b, t, 1, -1)
        q = self.to_q(tokens).unflatten(-1, (self.heads, -1)) / math.sqrt(c // self.heads)
        k, v = self.to_kv(tokens[:, base_frame(t)]).unflatten(-1, (2 * self.heads, -1)).chunk(2, dim=-2)
        # half precision does not separate neighbouring positions
        with without_autocast(x.device):
            window_q, window_k = windows(points.float().unflatten(-1, (self.heads, 3)), h, w)
            q = torch.cat([q.float(), window_q], dim=-1).flatten(1, 2).transpose(1, 2)
            k = torch.cat([k.float(), window_k.expand(b, -1, self.heads, -1)], dim=-1).transpose(1, 2)
            v = F.pad(v.float(), (0, 3)).transpose(1, 2)  # fused attention wants them as wide as the keys
            mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :-3]
        mixed = self.to_out(mixed.transpose(1, 2).flatten(2).to(tokens.dtype))
        return mixed.reshape(b * t, h, w, c).permute(0, 3, 1, 2)


def windows(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Vectors of queries and keys whose products are the logarithms of Gaussian windows, up to a constant per query.

    With p' a key's place, m the place pointed at and s the window's precision, -s |p' - m|^2 / 2 is the product of
    (s m, -s/2) and (p', |p'|^2), less s |m|^2 / 2, which attention does not see.

    Args:
        points: [b t n heads 3]: down and right in quarters of the sides, and the logarithm of the precision over that
            of a window whose standard deviation is a quarter of the sides.
        height: of the map of n places.
        width: likewise.

    Returns:
        two tensors: [b t n heads 3] and [1 n 1 3].
    """
    rows, columns = (
        (torch.arange(side, device=points.device, dtype=points.dtype) - (side - 1) / 2) * 4 / side
        for side in (height, width)
    )
    places = torch.cartesian_prod(rows, columns)
    aims, precision = places[:, None] + points[..., :2], points[..., 2:].exp()
    keys = torch.cat([places, places.square().sum(dim=-1, keepdim=True)], dim=-1)
    return torch.cat([precision * aims, precision * -0.5], dim=-1), keys[None, :, None]
