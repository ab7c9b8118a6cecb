"""Stages `embeddings`, `aesthetics` and `similarity`: CLIP on the first, middle and last frame of a clip.

Stable Video Diffusion annotates clips so: an aesthetic score from the embeddings, and how well the caption fits.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from videofusion.curation.spans import pictures_of
from videofusion.curation.stage import Job, Row, Stage
from videofusion.errors import InputError

_Asking = TypeVar("_Asking", bound="_OfClip")


@dataclass(frozen=True, kw_only=True)
class _OfClip(Stage):
    """A stage that asks CLIP.

    Args:
        weights: a folder with a CLIPModel of transformers and its tokenizer.
        digest: what tells these weights from others.
        device: where it runs.
    """

    modules: ClassVar[dict[str, str]] = {"transformers": "clip"}
    alone: ClassVar[bool] = True
    unmarked: ClassVar[tuple[str, ...]] = ("weights", "device")

    weights: str
    digest: str
    device: str = "cpu"

    @classmethod
    def of(cls: type[_Asking], folder: Path, *, device: str = "cpu") -> _Asking:
        """The stage for a folder; raises `InputError` where there is no model in it."""
        return cls(weights=str(folder), digest=_digest(folder), device=device)


@dataclass(frozen=True, kw_only=True)
class Embeddings(_OfClip):
    """CLIP's embeddings of three frames, each of length 1, one behind the other; arguments as of `_OfClip`."""

    name: ClassVar[str] = "embeddings"
    columns: ClassVar[dict[str, str]] = {"embedding": "list<float>"}

    def look(self, job: Job) -> Row:
        import torch

        footage = job.span.open()
        frames = pictures_of(footage, 3)
        frames += [frames[-1]] * (3 - len(frames))
        clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = _clip(self.weights, self.device).features(clip[None])
        return {"embedding": rows.flatten().tolist()}


@dataclass(frozen=True, kw_only=True)
class Aesthetics(Stage):
    """A score from CLIP's embedding by linear layers, as LAION's predictors are; the mean of the three frames.

    Args:
        weights: safetensors with tensors NAME.weight [out in] and NAME.bias [out], used in the order of the numbers
            in their names, without anything in between; the last has one output.
        digest: what tells these weights from others.
    """

    name: ClassVar[str] = "aesthetics"
    columns: ClassVar[dict[str, str]] = {"aesthetics": "double"}
    reads: ClassVar[tuple[str, ...]] = ("embedding",)
    alone: ClassVar[bool] = True
    unmarked: ClassVar[tuple[str, ...]] = ("weights",)

    weights: str
    digest: str

    @classmethod
    def of(cls, file: Path) -> Aesthetics:
        """The stage for a file; raises `InputError` where it holds no such layers."""
        import hashlib

        _layers(str(file))
        return cls(weights=str(file), digest=hashlib.sha256(file.read_bytes()).hexdigest())

    def look(self, job: Job) -> Row:
        rows = np.array(job.known["embedding"], np.float64).reshape(3, -1)
        layers = _layers(self.weights)
        if rows.shape[1] != layers[0][0].shape[1]:
            raise InputError(
                f"--aesthetic-head takes embeddings of {layers[0][0].shape[1]} numbers, but those of --clip "
                f"have {rows.shape[1]}"
            )
        for weight, bias in layers:
            rows = rows @ weight.T + bias
        return {"aesthetics": float(rows.mean())}


@dataclass(frozen=True, kw_only=True)
class Similarity(_OfClip):
    """How well the caption fits: the mean cosine of its CLIP embedding with those of the three frames, -1 to 1.

    The caption is that of the captioners where they run, else the source's first; a clip without one has no value.
    """

    name: ClassVar[str] = "similarity"
    columns: ClassVar[dict[str, str]] = {"similarity": "double"}
    reads: ClassVar[tuple[str, ...]] = ("embedding", "said")

    def look(self, job: Job) -> Row:
        if not job.known["said"]:
            return {"similarity": None}
        rows = np.array(job.known["embedding"], np.float64).reshape(3, -1)
        text = _clip(self.weights, self.device).text([job.known["said"]])[0].numpy().astype(np.float64)
        return {"similarity": float((rows @ text).mean())}


@lru_cache(maxsize=1)
def _clip(folder: str, device: str) -> Any:
    from videofusion.evaluation.extractors.transformer import CLIPExtractor

    extractor = CLIPExtractor.open(Path(folder), name="clip")
    extractor.network.to(device)
    return extractor


@lru_cache(maxsize=4)
def _digest(folder: Path) -> str:
    from videofusion.models import digest

    return digest(folder)


@lru_cache(maxsize=1)
def _layers(file: str) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"--aesthetic-head is {file}, which cannot be read as safetensors: {error}") from error
    weights = {name: value for name, value in tensors.items() if value.ndim == 2}
    names = sorted(weights, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    layers = [(weights[name].astype(np.float64), _bias(tensors, name, file)) for name in names]
    fits = all(first[0].shape[0] == then[0].shape[1] for first, then in itertools.pairwise(layers))
    if not layers or not fits or layers[-1][0].shape[0] != 1:
        raise InputError(f"--aesthetic-head is {file}, whose tensors are not a chain of linear layers to one score")
    return layers


def _bias(tensors: dict[str, Any], name: str, file: str) -> NDArray[np.float64]:
    bias = tensors.get(name.removesuffix("weight") + "bias")
    if bias is None:
        raise InputError(f"--aesthetic-head is {file}, which has {name} without a bias")
    return np.asarray(bias, np.float64)
