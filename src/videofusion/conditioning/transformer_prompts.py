"""Prompts as image transformers read them: PixArt by T5, Stable Diffusion 3 and Flux by CLIP and T5, Sana by Gemma.

Each reads them as its pipeline in diffusers does. Brackets with weights are text here, and nothing is read in chunks:
a prompt that is longer than the last encoder takes is refused. CLIP's, which takes fewer tokens and reads beside T5,
sees a prompt's beginning.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.prompt_encoder import Embedded, TextEncoders
from videofusion.device import without_autocast
from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError

# Transformers whose pipelines write prompts in small letters, and which do not see what fills a text up.
_LOWER = _MASKED = ("PixArtTransformer2DModel", "SanaTransformer2DModel")


class TransformerPrompts(TextEncoders):
    """The text encoders of an image transformer.

    Args:
        encoders: of its parts, in their order.
        kind: the transformer's class in diffusers.
        tokens: of text that it is told by its last encoder.
        size: of each of them.
    """

    def __init__(self, encoders: Sequence[FrozenText], *, kind: str, tokens: int, size: int) -> None:
        if not encoders:
            raise InputError("encoders is empty; a prompt needs one")
        self.encoders, self.kind, self.size, self.tokens = list(encoders), kind, size, tokens
        self._clips = [each for each in self.encoders if type(each.model).__name__.startswith("CLIP")]
        self._others = [each for each in self.encoders if each not in self._clips]
        self.length = tokens + (self._clips[0].length if kind == "SD3Transformer2DModel" else 0)

    def check(self, prompt: str) -> None:
        """Raise InputError if a prompt is empty, or longer than the last encoder takes."""
        if not prompt.strip():
            raise InputError(f"prompt is {prompt!r}; it must have at least one word")
        last, room = (self._others[-1], self.tokens) if self._others else (self._clips[-1], self._clips[-1].length)
        count = len(last.tokenizer(self._cleaned(prompt), verbose=False)["input_ids"])
        if count > room:
            raise InputError(f"prompt has {count} tokens; this model takes at most {room}")

    def fingerprint(self) -> str:
        """What it makes of texts, as 16 letters; see `networks.fingerprints`."""
        parts = [each.fingerprint() for each in self.encoders] + [self.kind, self.tokens, self.size]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def embed(self, prompts: Sequence[str]) -> Embedded:
        """Embed prompts, each by itself.

        Args:
            prompts: b texts, "" for none.
        """
        return self._embed(prompts, plain=False)

    def conditions(self, prompts: Sequence[str], negative: str | None = None, **others: Tensor | None) -> Conditions:
        found, without = self.embed(prompts), self._embed([negative or ""], plain=True)
        null = {"text": without.text, "pooled_text": without.pooled, "text_mask": without.mask}
        return Conditions(
            text=found.text,
            text_mask=found.mask,
            pooled_text=found.pooled,
            null={name: value for name, value in null.items() if value is not None},
            **others,  # type: ignore[arg-type]
        )

    @torch.no_grad()
    def _embed(self, prompts: Sequence[str], *, plain: bool) -> Embedded:
        with without_autocast(self.device):
            rows = [self._one(self._cleaned(prompt), plain or not prompt) for prompt in prompts]
        pooled = [each for row in rows if (each := row.pooled) is not None]
        masks = [each for row in rows if (each := row.mask) is not None]
        if not all(each.is_meta or bool(each.any()) for each in masks):  # which attention cannot look at
            raise InputError("text encoder makes no token of an empty text; its tokenizer must add one to every text")
        return Embedded(
            text=torch.cat([row.text for row in rows]),
            pooled=torch.cat(pooled) if pooled else None,
            mask=torch.cat(masks) if masks else None,
        )

    def _cleaned(self, prompt: str) -> str:
        return prompt.lower().strip() if self.kind in _LOWER else prompt

    def _one(self, prompt: str, plain: bool) -> Embedded:
        """One text; a `plain` one is without what Sana asks its encoder to do with it."""
        if self.kind == "SanaTransformer2DModel":
            return self._instructed(self._others[0], "" if plain else _instruction(), prompt)
        text = mask = pooled = None
        if self._others:
            numbers, seen = self._numbers(self._others[-1], prompt, self.tokens)
            masked = self.kind in _MASKED
            found = self._others[-1].model(input_ids=numbers, attention_mask=_mask(seen) if masked else None)
            text, mask = found.last_hidden_state.float(), seen.bool() if masked else None
        if self.kind == "FluxTransformer2DModel":
            clip = self._clips[0]
            pooled = clip.model(input_ids=self._numbers(clip, prompt, clip.length)[0]).pooler_output.float()
        if self.kind == "SD3Transformer2DModel":
            beside, pooled = self._pair(prompt)
            if text is None:
                text = torch.zeros(1, self.tokens, self.size, device=self.device)
            text = torch.cat([F.pad(beside, (0, self.size - beside.shape[-1])), text], dim=1)
        assert text is not None  # of a kind that has another encoder than CLIP's
        return Embedded(text=text, pooled=pooled, mask=mask)

    def _pair(self, prompt: str) -> tuple[Tensor, Tensor]:
        """What two of CLIP's make of a text, side by side: tokens [1 l d], the whole [1 d]."""
        length = self._clips[0].length
        numbers = [self._numbers(clip, prompt, length)[0] for clip in self._clips]
        both = [
            clip.model(input_ids=each, output_hidden_states=True)
            for clip, each in zip(self._clips, numbers, strict=True)
        ]
        tokens = torch.cat([each.hidden_states[-2] for each in both], dim=-1)
        return tokens.float(), torch.cat([each.text_embeds for each in both], dim=-1).float()

    def _instructed(self, encoder: FrozenText, instruction: str, prompt: str) -> Embedded:
        """A text after an instruction, of whose tokens the first one and those of the text are kept (Sana)."""
        room = self.tokens
        if instruction:
            room += len(encoder.tokenizer.encode(instruction)) - 2
        numbers, seen = self._numbers(encoder, instruction + prompt, room)
        found = encoder.model(input_ids=numbers, attention_mask=_mask(seen)).last_hidden_state.float()
        kept = [0, *range(-self.tokens + 1, 0)]
        return Embedded(text=found[:, kept], pooled=None, mask=seen[:, kept].bool())

    def _numbers(self, encoder: FrozenText, prompt: str, length: int) -> tuple[Tensor, Tensor]:
        """Tokens of a text filled up to a length [1 l], and which of them are the text's."""
        told = encoder.tokenizer(
            [prompt],
            padding="max_length",
            padding_side="right",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        )
        return told["input_ids"].to(self.device), told["attention_mask"].to(self.device)


def _mask(seen: Tensor) -> Tensor | None:
    """A mask, but on the meta device, which only counts: nobody can ask there whether all tokens count."""
    return None if seen.is_meta else seen


def _instruction() -> str:
    """What Sana's text encoder is asked to do with a prompt, as its pipeline has it."""
    import diffusers

    pipeline: Any = diffusers.SanaPipeline
    lines = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)
