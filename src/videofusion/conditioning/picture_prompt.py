"""A prompt with a picture beside it (IP-Adapter, Ye et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from videofusion.conditioning.condition import Request
from videofusion.conditioning.prompt import Encoder, Prompt
from videofusion.diffusion.conditions import Conditions
from videofusion.networks.ip_adapter import ImageTokens


class PicturePrompt(Prompt):
    """A text for each clip, and one picture for all, whose tokens follow the text's.

    Args:
        encoder: of the text.
        tokens: made of the picture's embedding.
        embedding: of the picture [1 d].
    """

    def __init__(self, encoder: Encoder, tokens: ImageTokens, embedding: Tensor) -> None:
        super().__init__(encoder)
        self._tokens, self._embedding = tokens, embedding

    def sample(self, value: Sequence[str], request: Request) -> Conditions:
        tokens = self._tokens.to(request.device)
        return tokens.conditions(super().sample(value, request), self._embedding.to(request.device))
