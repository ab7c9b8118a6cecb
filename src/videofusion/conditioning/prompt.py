"""What a clip shows, in words: the prompt at sampling, the caption in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.prompt_encoder import TextEncoders
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.keys import Stream, uniform

Encoder = WordEncoder | FrozenText | TextEncoders
_SHOWN_WORDS = 200  # of those a model knows, in a warning; a large set's captions have a hundred thousand


class Prompt(Condition):
    """A text for each clip, as tokens that networks attend to; its null value is the empty or the negative text.

    Args:
        encoder: of the text; a `WordEncoder` is trained with the system.
        captions: train on the clips' captions; False for clips without any, which all get the empty text.
    """

    name, kind, option = "text", "tokens", "prompt"
    guided = True

    def __init__(self, encoder: Encoder, *, captions: bool = True) -> None:
        self.encoder, self.captions = encoder, captions

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"text_encoder": self.encoder} if isinstance(self.encoder, WordEncoder) else {}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self._parts.items() if isinstance(part, nn.Module)}

    @property
    def components(self) -> dict[str, Any]:
        return {**super().components, **self._parts}

    @property
    def _parts(self) -> dict[str, Any]:
        """Frozen encoders and their tokenizers by name."""
        if isinstance(self.encoder, WordEncoder):
            return {}
        encoders = self.encoder.encoders if isinstance(self.encoder, TextEncoders) else [self.encoder]
        found: dict[str, Any] = {}
        for number, each in enumerate(encoders, 1):
            end = "" if number == 1 else f"_{number}"
            found |= {f"text_encoder{end}": each.model, f"tokenizer{end}": each.tokenizer}
        return found

    def network(self, colours: int) -> dict[str, Any]:
        if isinstance(self.encoder, WordEncoder):  # whose first token is one that gathers the text
            return {"text_size": self.encoder.config.size, "pool_text": True}
        return {"text_size": self.encoder.size, "pool_text": False}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        texts = captions_of(batch, keys, step) if self.captions else [""] * len(batch)
        return text_conditions(self.encoder, texts, batch.text)

    def check(self, value: Sequence[str]) -> Sequence[str]:
        return [message for message in map(self._check, value) if message is not None]

    def _check(self, prompt: str) -> str | None:
        self.encoder.check(prompt)
        unknown = self.encoder.unknown(prompt)
        if not unknown:
            return None
        words = sorted(self.encoder.words)
        more = f" ... ({len(words):,} in all)" if len(words) > _SHOWN_WORDS else ""
        known = " ".join(words[:_SHOWN_WORDS]) + more
        return f"this model does not know {', '.join(map(repr, unknown))}; the words it knows are: {known}"

    def sample(self, value: Sequence[str], request: Request) -> Conditions:
        return text_conditions(self.encoder, value, negative=request.negative)


def dropped(keys: Keys, step: Step) -> list[bool]:
    """For each clip of a step whether it goes without its caption."""
    return (uniform(keys.content, Stream.CAPTION, step.number) < step.dropout).tolist()


def captions_of(batch: Batch, keys: Keys, step: Step) -> list[str]:
    """The captions of a training step; "" where one is dropped."""
    return ["" if drop else text for text, drop in zip(batch.captions, dropped(keys, step), strict=True)]


def text_conditions(
    encoder: Encoder,
    prompts: Sequence[str],
    known: tuple[Tensor, Tensor] | None = None,
    negative: str | None = None,
) -> Conditions:
    """Conditions of prompts, with the empty or the negative prompt as their null value.

    Args:
        encoder: of the text.
        prompts: one for each clip; "" for none.
        known: embeddings [b l d] and masks [b l] of the prompts other than "", where a frozen encoder made them before.
        negative: what guidance leads away from; nothing when None.
    """
    if isinstance(encoder, TextEncoders):
        return encoder.conditions(prompts, negative)
    if known is None or isinstance(encoder, WordEncoder):  # which is trained: what it made before is out of date
        text, mask = encoder.encode([negative or "", *prompts])
    else:
        text, mask = encoder.encode([negative or ""])
        rows, masks = (each.to(text.device) for each in known)
        gone = torch.tensor([not prompt for prompt in prompts], device=text.device)[:, None]
        text = torch.cat([text, torch.where(gone[:, None], text, rows.to(text.dtype))])
        mask = torch.cat([mask, torch.where(gone, mask, masks)])
    return Conditions(text=text[1:], text_mask=mask[1:], null={"text": text[:1], "text_mask": mask[:1]})
