"""The prior: a diffusion model over the central frame's embedding, told the text (VideoFusion, sec. 4; DALL-E 2)."""

from __future__ import annotations

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.networks.layers import Embedding, sinusoidal


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
    """Residual network over embeddings.

    The text is told by its first token, which has looked at all the others; the empty text's is the null condition.

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
        self.time_embedding = Embedding(width, width)
        self.text_embedding = nn.Linear(text_size, width)
        self.inlet = nn.Linear(size, width)
        self.blocks = nn.ModuleList(PriorBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, size)

    def forward(
        self, z: Tensor, time: Tensor, *, text: Tensor, text_mask: Tensor | None = None, temporal: float = 1.0
    ) -> Tensor:
        """Predict, whatever the prediction means.

        Args:
            z: noisy embedding [b d].
            time: what the schedule's `network_time` gives, [b].
            text: token embeddings [b l d].
            text_mask: not read: the first token always counts.
            temporal: not read: an embedding has no frames.

        Returns:
            [b d].
        """
        told = self.time_embedding(sinusoidal(time, self.config.width).to(z.dtype)) + self.text_embedding(text[:, 0])
        x = self.inlet(z)
        for block in self.blocks:
            x = block(x, F.silu(told))
        return self.outlet(self.norm(x))
