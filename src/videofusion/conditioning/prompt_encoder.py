"""Prompts as people write them for Stable Diffusion: negative, longer than the text encoder takes, with weights.

"a (red:1.3) cat" has "red" count 1.3 times, "(dull:0.5)" half; they nest. Brackets without a number are text, and so is
what a backslash stands before. A weight w moves a token's embedding z along the line from what the empty prompt has in
its place, z0, to z0 + w (z - z0): 1 changes nothing, 0 takes the token out.

A long prompt is divided between words into chunks of the encoder's length, each of which is encoded by itself; their
embeddings follow each other.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.device import without_autocast
from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError

LONG = ("chunks", "cut")
MOST_CHUNKS = 8
MOST_WEIGHT = 5.0
_MARK = re.compile(r"\\[()]|\(|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|\)")
_WORD_END = "</w>"  # how CLIP's tokenizer marks the last part of a word


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What text encoders make of prompts.

    Args:
        text: token embeddings [b l d], float32.
        pooled: of whole texts [b d]; None where no encoder has one.
        mask: which tokens count, bool [b l]; all when None.
    """

    text: Tensor
    pooled: Tensor | None
    mask: Tensor | None = None


class TextEncoders:
    """Frozen text encoders that an image model asks together.

    Attributes:
        encoders: in the order of its parts.
        size: of a token's embedding.
        length: tokens that a text has room for.
    """

    encoders: list[FrozenText]
    size: int
    length: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.encoders[0].device

    @property
    def words(self) -> list[str]:
        """None that are to be listed: see `FrozenText`."""
        return []

    def unknown(self, prompt: str) -> list[str]:
        """No word: see `words`."""
        return []

    def check(self, prompt: str) -> None:
        """Raise InputError for a prompt that cannot be read whole."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """What it makes of texts, as 16 letters; see `networks.fingerprints`."""
        raise NotImplementedError

    def embed(self, prompts: Sequence[str]) -> Embedded:
        """Embed b texts, "" for none."""
        raise NotImplementedError

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings [b l d] of prompts, and the mask of those that count [b l]."""
        found = self.embed(prompts)
        all_count = torch.ones(found.text.shape[:2], dtype=torch.bool, device=found.text.device)
        return found.text, all_count if found.mask is None else found.mask

    def conditions(self, prompts: Sequence[str], negative: str | None = None, **others: Tensor | None) -> Conditions:
        """Conditions of prompts, with the negative prompt as their null value.

        Args:
            prompts: one for each clip.
            negative: what guidance leads away from; the model's own null condition when None.
            others: further fields of `Conditions`.
        """
        raise NotImplementedError


class PromptEncoder(TextEncoders):
    """One or two text encoders of CLIP, asked as Stable Diffusion asks them.

    Args:
        encoders: their tokens' embeddings are put side by side (Stable Diffusion XL has two).
        penultimate: take the last layer but one, without the norm after the last (XL), in place of the last.
        zero_null: without a negative prompt the null condition is zeros (XL), in place of the empty prompt.
        long: what happens to a prompt that is longer than the encoders take: "chunks", or "cut", of which a warning
            says what is left out.
        captions: for training: brackets are text, what is longer is cut in silence, and with `zero_null` the empty text
            is zeros too.

    Raises:
        InputError: no encoder, one that is not CLIP's, or another way with long prompts.
    """

    def __init__(
        self,
        encoders: Sequence[FrozenText],
        *,
        penultimate: bool = False,
        zero_null: bool = False,
        long: str = "chunks",
        captions: bool = False,
    ) -> None:
        if not encoders:
            raise InputError("encoders is empty; a prompt needs one")
        for encoder in encoders:
            if not type(encoder.model).__name__.startswith("CLIPText"):
                raise InputError(f"text encoder is a {type(encoder.model).__name__}; prompts are read by CLIP's only")
        if long not in LONG:
            raise InputError(f"long is {long!r}; it must be one of {', '.join(LONG)}")
        self.encoders, self.penultimate, self.zero_null, self.long = list(encoders), penultimate, zero_null, long
        self.captions = captions
        self.size = sum(encoder.size for encoder in encoders)
        self.length = min(encoder.length for encoder in encoders)

    def check(self, prompt: str) -> None:
        """Raise InputError if a prompt is empty, longer than `MOST_CHUNKS`, or has a weight that is out of bounds."""
        if not prompt.strip():
            raise InputError(f"prompt is {prompt!r}; it must have at least one word")
        for encoder in self.encoders:
            self._chunks(encoder, prompt)

    def fingerprint(self) -> str:
        """What it makes of texts, as 16 letters; see `networks.fingerprints`."""
        parts = [each.fingerprint() for each in self.encoders] + [self.penultimate, self.zero_null, self.long]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Embedded:
        """Embed prompts, all in as many chunks as the longest one needs.

        Args:
            prompts: b texts, "" for none.

        Raises:
            InputError: a prompt of more than `MOST_CHUNKS`, or a weight that is out of bounds.
        """
        read = self._caption if self.captions else self._chunks
        chunks = [[read(encoder, prompt) for prompt in prompts] for encoder in self.encoders]
        count = max(len(each) for of_encoder in chunks for each in of_encoder)
        texts, pooled = [], None
        for encoder, of_encoder in zip(self.encoders, chunks, strict=True):
            rows = [
                [self._one(encoder, chunk) for chunk in each + [_Chunk([], [])] * (count - len(each))]
                for each in of_encoder
            ]
            texts.append(torch.cat([torch.cat([text for text, _ in row], dim=1) for row in rows]))
            wholes = [row[0][1] for row in rows]  # of the first chunk, where the subject usually stands
            if wholes[0] is not None:
                pooled = torch.cat([each for each in wholes if each is not None])
        return Embedded(text=torch.cat(texts, dim=-1), pooled=pooled)

    def conditions(self, prompts: Sequence[str], negative: str | None = None, **others: Tensor | None) -> Conditions:
        """Conditions of prompts, with the negative prompt as their null value.

        Args:
            prompts: one for each clip.
            negative: what guidance leads away from; the model's own null condition when None.
            others: further fields of `Conditions`.
        """
        found = self.embed([*prompts, negative or ""])
        if self.captions and self.zero_null:
            kept = torch.tensor([bool(prompt) for prompt in [*prompts, negative]], device=found.text.device)
            pooled = None if found.pooled is None else found.pooled * kept[:, None]
            found = Embedded(text=found.text * kept[:, None, None], pooled=pooled)
        null = {"text": found.text[-1:]} | ({} if found.pooled is None else {"pooled_text": found.pooled[-1:]})
        if negative is None and self.zero_null:
            null = {name: torch.zeros_like(value) for name, value in null.items()}
        pooled = None if found.pooled is None else found.pooled[:-1]
        return Conditions(text=found.text[:-1], pooled_text=pooled, null=null, **others)  # type: ignore[arg-type]

    def _caption(self, encoder: FrozenText, text: str) -> list[_Chunk]:
        """A caption's first tokens, in one chunk."""
        tokens = encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][: encoder.length - 2]
        return [_Chunk(tokens, [1.0] * len(tokens))]

    def _chunks(self, encoder: FrozenText, prompt: str) -> list[_Chunk]:
        """A prompt's tokens in chunks, one at least."""
        tokens, weights = [], []
        for text, weight in weighted(prompt):
            own = encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            tokens += own
            weights += [weight] * len(own)
        room = encoder.length - 2  # beside the marks of begin and end
        if len(tokens) > room and self.long == "cut":
            gone = encoder.tokenizer.decode(tokens[room:])
            warnings.warn(
                f"the prompt has {len(tokens)} tokens, of which the text encoder takes {room}; it does not see "
                f'"{gone}" (long="chunks" would have it see all)',
                stacklevel=4,
            )
            tokens, weights = tokens[:room], weights[:room]
        chunks, at = [], 0
        while at < len(tokens):
            end = min(at + room, len(tokens))
            if end < len(tokens):
                end = _word_end(encoder.tokenizer.convert_ids_to_tokens(tokens[at:end]), at, end)
            chunks.append(_Chunk(tokens[at:end], weights[at:end]))
            at = end
        if len(chunks) > MOST_CHUNKS:
            raise InputError(
                f"prompt has {len(tokens)} tokens; at most {MOST_CHUNKS} chunks of {room} are read, this makes "
                f"{len(chunks)}"
            )
        return chunks or [_Chunk([], [])]

    def _one(self, encoder: FrozenText, chunk: _Chunk) -> tuple[Tensor, Tensor | None]:
        text, pooled = self._embed(encoder, chunk.tokens)
        if any(weight != 1 for weight in chunk.weights):
            empty, _ = self._embed(encoder, [])
            weights = torch.ones(encoder.length, 1, device=text.device)
            weights[1 : 1 + len(chunk.weights), 0] = torch.tensor(chunk.weights, device=text.device)
            text = torch.where(weights == 1, text, empty + weights * (text - empty))
        return text, pooled

    def _embed(self, encoder: FrozenText, tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Token embeddings [1 l d] and that of the whole text [1 d], where there is one."""
        special: Any = encoder.tokenizer
        padding = special.eos_token_id if special.pad_token_id is None else special.pad_token_id
        row = [special.bos_token_id, *tokens, special.eos_token_id]
        numbers = torch.tensor([row + [padding] * (encoder.length - len(row))], device=encoder.device)
        with without_autocast(numbers.device):
            found = encoder.model(input_ids=numbers, output_hidden_states=self.penultimate)
        text = found.hidden_states[-2] if self.penultimate else found.last_hidden_state
        pooled = getattr(found, "text_embeds", None)
        return text.float(), None if pooled is None else pooled.float()


@dataclass(frozen=True)
class _Chunk:
    tokens: list[int]
    weights: list[float]


def _word_end(parts: Sequence[str], at: int, end: int) -> int:
    """Where the last whole word ends between two places; `end` where one word fills all."""
    ends = [number for number, part in enumerate(parts) if part.endswith(_WORD_END)]
    return at + ends[-1] + 1 if ends else end


def weighted(prompt: str) -> list[tuple[str, float]]:
    """The texts of a prompt with their weights, in order; neighbours of one weight are one text.

    Raises:
        InputError: a weight out of [0, `MOST_WEIGHT`].
    """
    spans: list[tuple[str, float]] = []
    opened: list[int] = []  # places in `spans` of brackets that are not closed yet
    at = 0
    for found in _MARK.finditer(prompt):
        spans.append((prompt[at : found.start()], 1.0))
        at, mark = found.end(), found[0]
        if mark == "(":
            opened.append(len(spans))
            spans.append((mark, 1.0))
        elif found[1] is not None and opened:
            begin, weight = opened.pop(), float(found[1])
            spans[begin:] = [(text, weight * own) for text, own in spans[begin + 1 :]]
        else:
            if mark == ")" and opened:
                opened.pop()
            spans.append((mark.lstrip("\\"), 1.0))
    spans.append((prompt[at:], 1.0))
    joined: list[tuple[str, float]] = []
    for text, weight in spans:
        if not 0 <= weight <= MOST_WEIGHT:
            raise InputError(
                f"prompt gives {text!r} the weight {weight:g}, but it must be in [0, {MOST_WEIGHT:g}]; a bracket that "
                r"is text is written \("
            )
        if text and joined and joined[-1][1] == weight:
            joined[-1] = joined[-1][0] + text, weight
        elif text:
            joined.append((text, weight))
    return joined


def size_ids(height: int, width: int, *, clips: int = 1, crop: tuple[int, int] = (0, 0)) -> Tensor:
    """Size conditioning of Stable Diffusion XL: original size, crop corner, target size (their sec. 2.2).

    Args:
        height: in pixels.
        width: likewise.
        clips: so many rows.
        crop: top and left of what was cut out of it.

    Returns:
        [clips 6], float32.
    """
    return torch.tensor([[height, width, *crop, height, width]], dtype=torch.float32).repeat(clips, 1)
