"""A small text encoder over a list of words, trained together with the networks that it conditions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from videofusion.errors import InputError

_PAD, _BEGIN, _UNKNOWN, _SPECIAL = 0, 1, 2, 3
_ROUND = 16  # lengths are multiples of it, so that compiled networks meet few of them


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


class WordEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Transformer over words.

    Args:
        words: every word that it knows.
        size: of a token's embedding.
        layers: transformer layers.
        heads: of the attention.
        max_words: of a prompt.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, *, words: Sequence[str], size: int = 128, layers: int = 2, heads: int = 4, max_words: int = 32
    ) -> None:
        super().__init__()
        self.words = list(words)
        self._number = {word: _SPECIAL + i for i, word in enumerate(self.words)}
        self.tokens = nn.Embedding(_SPECIAL + len(self.words), size)
        self.positions = nn.Embedding(max_words + 1, size)
        layer = nn.TransformerEncoderLayer(
            size, heads, 4 * size, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(size), enable_nested_tensor=False)
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.positions.weight, std=0.1)

    @property
    def length(self) -> int:
        """Most tokens of a text, as it is filled up."""
        return -(-(self.config.max_words + 1) // _ROUND) * _ROUND

    def unknown(self, prompt: str) -> list[str]:
        """The words of a prompt that the encoder does not know, in order."""
        return [word for word in dict.fromkeys(split_words(prompt)) if word not in self._number]

    def check(self, prompt: str) -> None:
        """Raise InputError if a prompt has no words or too many."""
        count = len(split_words(prompt))
        if count == 0:
            raise InputError(f"prompt is {prompt!r}; it must have at least one word")
        if count > self.config.max_words:
            raise InputError(f"prompt has {count} words; this model takes at most {self.config.max_words}")

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embed prompts; the empty prompt is the null condition, longer ones are cut.

        Args:
            prompts: b texts.

        Returns:
            embeddings [b l d] and the mask of the tokens that count [b l].
        """
        limit = self.config.max_words
        rows = [[_BEGIN, *(self._number.get(w, _UNKNOWN) for w in split_words(p)[:limit])] for p in prompts]
        length = -(-max(map(len, rows)) // _ROUND) * _ROUND
        numbers = torch.tensor([row + [_PAD] * (length - len(row)) for row in rows], device=self.device)
        mask = numbers != _PAD
        x = self.tokens(numbers) + self.positions.weight[torch.arange(length).clamp_max(limit)]
        return self.transformer(x, src_key_padding_mask=~mask), mask

    def forward(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `encode`."""
        return self.encode(prompts)
