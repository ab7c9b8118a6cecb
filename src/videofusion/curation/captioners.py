"""Captioners built on transformers: of one or several pictures, and of other captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from videofusion.errors import InputError, require
from videofusion.trusted import LOCAL, check_foreign
from videofusion.video.footage import Frame

_ASK = "Describe what happens in {what} in one sentence."
_JOIN = (
    "Two descriptions of one video clip. Of its middle frame: {0} Of its frames in order: {1} "
    "Write one sentence that describes the clip:"
)


class Pictures:
    """An image-to-text model: BLIP, GIT and their like, or a chat model that sees (its processor has a chat template).

    What comes out is what the model finds most likely, the same at each call.

    Args:
        model: of transformers.
        processor: its own.
        tokens: most that it may say.
    """

    def __init__(self, model: Any, processor: Any, *, tokens: int) -> None:
        self.model, self.processor, self.tokens = model.eval(), processor, tokens
        self._chats = getattr(processor, "chat_template", None) is not None
        # GIT for videos is trained on a number of frames.
        self.count = getattr(model.config, "num_image_with_embedding", None)

    @classmethod
    def open(cls, folder: Path, *, option: str, tokens: int, device: str) -> Pictures:
        """Read one from a folder; raises `InputError` where there is none, whole."""
        model = _model(folder, "AutoModelForImageTextToText", option).to(device)
        transformers = require("transformers", "clip")
        try:
            processor = transformers.AutoProcessor.from_pretrained(folder, **LOCAL, backend="pil")
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise InputError(f"{option} is {folder}, whose processor cannot be read: {_first(error)}") from error
        return cls(model, processor, tokens=tokens)

    @torch.no_grad()
    def caption(self, frames: Sequence[Frame], texts: Sequence[str]) -> str:
        """Of these frames; texts play no role."""
        pictures = [Image.fromarray(frame) for frame in frames]
        if self._chats:
            what = "this picture" if len(pictures) == 1 else "this video, of which these are frames in order"
            content = [{"type": "image", "image": picture} for picture in pictures]
            chat = [{"role": "user", "content": [*content, {"type": "text", "text": _ASK.format(what=what)}]}]
            inputs = self.processor.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            return self._say(inputs, skip=inputs["input_ids"].shape[1])
        if self.count is not None:
            step = (len(pictures) - 1) / max(1, self.count - 1)
            pixels = self._pixels([pictures[round(number * step)] for number in range(self.count)])
            return self._say({"pixel_values": pixels[None]})
        return self._say({"pixel_values": self._pixels(pictures[len(pictures) // 2 : len(pictures) // 2 + 1])})

    def _pixels(self, pictures: list[Image.Image]) -> Any:
        return self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]

    def _say(self, inputs: Any, skip: int = 0) -> str:
        own = {name: value.to(self.model.device) for name, value in inputs.items()}
        said = self.model.generate(**own, max_new_tokens=self.tokens, do_sample=False)
        return _line(self.processor.tokenizer.decode(said[0, skip:], skip_special_tokens=True))


class Summary:
    """A language model that merges two captions into one sentence.

    Args:
        model: a causal language model of transformers.
        tokenizer: its own; with a chat template it is asked as in a chat.
        tokens: most that it may say; what it says after the first line does not count.
    """

    def __init__(self, model: Any, tokenizer: Any, *, tokens: int) -> None:
        self.model, self.tokenizer, self.tokens = model.eval(), tokenizer, tokens

    @classmethod
    def open(cls, folder: Path, *, option: str, tokens: int, device: str) -> Summary:
        """Read one from a folder; raises `InputError` where there is none, whole."""
        model = _model(folder, "AutoModelForCausalLM", option).to(device)
        transformers = require("transformers", "clip")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **LOCAL)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise InputError(f"{option} is {folder}, whose tokenizer cannot be read: {_first(error)}") from error
        return cls(model, tokenizer, tokens=tokens)

    @torch.no_grad()
    def caption(self, frames: Sequence[Frame], texts: Sequence[str]) -> str:
        """Of two texts; frames play no role."""
        asked = _JOIN.format(*texts)
        if getattr(self.tokenizer, "chat_template", None) is not None:
            asked = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False
            )
        inputs = self.tokenizer(asked, return_tensors="pt").to(self.model.device)
        ids = inputs["input_ids"]
        said = self.model.generate(
            input_ids=ids, attention_mask=inputs["attention_mask"], max_new_tokens=self.tokens, do_sample=False
        )
        text = self.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip()
        return _line(text.partition("\n")[0])


def _model(folder: Path, kind: str, option: str) -> Any:
    transformers = require("transformers", "clip")
    check_foreign(folder / "config.json")
    try:
        model, report = getattr(transformers, kind).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **LOCAL
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{option} is {folder}, which cannot be read as such a model: {_first(error)}") from error
    # transformers fills what is missing with random numbers, and only warns.
    wrong = [str(name) for key in ("missing_keys", "mismatched_keys") for name in report.get(key) or ()]
    if wrong:
        raise InputError(f"{option} is {folder}, whose weights lack {len(wrong)} tensors ({wrong[0]} is one)")
    return model


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _line(text: str) -> str:
    return " ".join(text.split())
