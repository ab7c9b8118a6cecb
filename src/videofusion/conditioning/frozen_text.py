"""A frozen text encoder of transformers, such as those that image models were trained with: CLIP's and T5's.

It is called as `WordEncoder` is, and never trained. Each text is embedded by itself, at one length for all: so what is
embedded during training is to the bit what was embedded before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.device import without_autocast
from videofusion.errors import InputError
from videofusion.networks.fingerprints import fingerprint

MOST_TOKENS = 128  # of a T5, which knows no bound itself; CLIP's own is 77
# Texts that tokenizers of one vocabulary may divide otherwise.
_PROBES = ("", "A red Three, moving LEFT!", "unbelievably long-winded   spaces", "été 2026: 3.14 × ½", "x" * 300)


class FrozenText:
    """Text encoder and tokenizer.

    Args:
        model: a `CLIPTextModel`, `CLIPTextModelWithProjection` or `T5EncoderModel` of transformers; its parameters are
            frozen, and it is put into evaluation mode.
        tokenizer: that belongs to it.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.model: Any = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        config: Any = model.config
        self.size: int = config.hidden_size
        places: int | None = getattr(config, "max_position_embeddings", None)
        self.length: int = min(places or MOST_TOKENS, int(tokenizer.model_max_length))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def words(self) -> list[str]:
        """None that are to be listed: it knows them all, by their parts."""
        return []

    def unknown(self, prompt: str) -> list[str]:
        """No word: see `words`."""
        return []

    def check(self, prompt: str) -> None:
        """Raise InputError if a prompt is empty or too long."""
        if not prompt.strip():
            raise InputError(f"prompt is {prompt!r}; it must have at least one word")
        count = len(self.tokenizer(prompt, verbose=False)["input_ids"])
        if count > self.length:
            raise InputError(f"prompt has {count} tokens; this model takes at most {self.length}")

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embed prompts; the empty prompt is the null condition, longer ones are cut.

        Args:
            prompts: b texts.

        Returns:
            embeddings [b l d], float32, and the mask of the tokens that count [b l]: all of CLIP's, as Stable Diffusion
            takes them, and T5's up to the text's end.
        """
        rows = [self._one(prompt) for prompt in prompts]
        text, mask = torch.cat([found["last_hidden_state"] for found, _ in rows]), torch.cat([mask for _, mask in rows])
        return text.float(), torch.ones_like(mask) if self._clip else mask

    @torch.no_grad()
    def encode_pooled(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Embed prompts as DALL-E 2's prior reads them, by a `CLIPTextModelWithProjection`.

        Args:
            prompts: b texts.

        Returns:
            embeddings [b l d], the mask of the text's own tokens [b l], and embeddings of whole texts [b d], float32.
        """
        rows = [self._one(prompt) for prompt in prompts]
        text, pooled = (torch.cat([found[name] for found, _ in rows]) for name in ("last_hidden_state", "text_embeds"))
        return text.float(), torch.cat([mask for _, mask in rows]), pooled.float()

    @property
    def _clip(self) -> bool:
        return type(self.model).__name__.startswith("CLIPText")

    def _one(self, prompt: str) -> tuple[Any, Tensor]:
        told = self._numbers(prompt)
        numbers, mask = told["input_ids"].to(self.device), told["attention_mask"].to(self.device)
        with without_autocast(numbers.device):
            found = self.model(input_ids=numbers, attention_mask=None if self._clip else mask)
        return found, mask.bool()

    def fingerprint(self) -> str:
        """What it makes of texts, as 16 letters; see `networks.fingerprints`."""
        numbers = [self._numbers(probe)["input_ids"].tolist() for probe in _PROBES]
        parts = [fingerprint(self.model), self.length, numbers, self.tokenizer.get_vocab()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _numbers(self, prompt: str) -> Any:
        return self.tokenizer(
            [prompt], padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
