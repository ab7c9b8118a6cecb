"""CLIP and VideoMAE: the classes of transformers with weights from the user's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.errors import InputError, require
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.extractors.preprocess import resize_clips
from videofusion.evaluation.extractors.weights import verify
from videofusion.trusted import LOCAL, check_foreign

# Mean and deviation of the pictures that the networks were trained on: red green blue, of 0 to 1.
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _normalise(frames: Float[Tensor, "... 3 h w"], of: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    mean, std = (frames.new_tensor(values)[:, None, None] for values in of)
    return ((frames + 1) / 2 - mean) / std


def open_folder(folder: Path, kind: str, sha256: str | None) -> tuple[Any, str]:
    """A model of transformers from a folder with config.json and model.safetensors, and its weights' SHA-256.

    Args:
        folder: as `save_pretrained` writes it.
        kind: the class, as "CLIPModel".
        sha256: the checksum that model.safetensors must have; None for any.

    Raises:
        InputError: transformers is not installed, or the folder does not hold such a model, whole.
    """
    found = verify(folder / "model.safetensors", sha256)
    transformers = require("transformers", extra="clip")
    check_foreign(folder / "config.json")
    try:
        model, report = getattr(transformers, kind).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **LOCAL
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} cannot be read as a {kind}: {first}") from error
    # transformers fills what is missing with random numbers, and only warns.
    wrong = [str(name) for key in ("missing_keys", "mismatched_keys") for name in report.get(key) or ()]
    if wrong:
        raise InputError(f"{folder} holds other weights than a {kind}'s: {len(wrong)} are missing ({wrong[0]} is one)")
    return model, found


class CLIPExtractor(NetworkExtractor):
    """CLIP's embedding of frames and of texts, of length 1, so that a product of two is their similarity.

    Args:
        network: a transformers `CLIPModel`.
        tokenizer: texts to token numbers, as transformers' are called; only `text` needs it.
    """

    network: Any  # classes of transformers have no types here
    layers = ("embedding",)
    per_frame = True

    def __init__(self, network: nn.Module, *, name: str, checksum: str, batch: int = 32, tokenizer: Any = None) -> None:
        super().__init__(network, name=name, checksum=checksum, batch=batch)
        self.tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path, *, name: str, sha256: str | None = None) -> CLIPExtractor:
        """Read model and tokenizer from a folder.

        Raises:
            InputError: as `open_folder`, or the tokenizer's files are not there.
        """
        model, found = open_folder(folder, "CLIPModel", sha256)
        transformers = require("transformers", extra="clip")
        try:
            tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, **LOCAL)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{folder} holds no tokenizer of CLIP (vocab.json and merges.txt)") from error
        return cls(model, name=name, checksum=found, tokenizer=tokenizer)

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        size = self.network.config.vision_config.image_size
        frames = clips[:, 0]
        # The short side to `size`, bicubic, then the middle square: CLIP's own preprocessing, which antialiases.
        short = min(frames.shape[-2:])
        shape = [round(side * size / short) for side in frames.shape[-2:]]
        frames = F.interpolate(frames, shape, mode="bicubic", antialias=True).clamp(-1, 1)
        top, left = ((side - size) // 2 for side in shape)
        frames = frames[..., top : top + size, left : left + size]
        pooled = self.network.vision_model(pixel_values=_normalise(frames, _CLIP)).pooler_output
        return {"embedding": F.normalize(self.network.visual_projection(pooled), dim=-1)}

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Embeddings of texts; what is longer than CLIP can read is cut.

        Raises:
            InputError: there are no prompts.
        """
        if not prompts:
            raise InputError("prompts are empty, but CLIP takes at least one")
        longest = self.network.config.text_config.max_position_embeddings  # a folder may not tell the tokenizer
        tokens = self.tokenizer(list(prompts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        device = self.network.text_projection.weight.device
        pooled = self.network.text_model(**{name: value.to(device) for name, value in tokens.items()}).pooler_output
        return F.normalize(self.network.text_projection(pooled), dim=-1).float().cpu()


class VideoMAEExtractor(NetworkExtractor):
    """A VideoMAE with its classifier; `pool` is what the classifier sees.

    Frames are squashed to the network's size, as cd-fvd does (songweige/content-debiased-fvd), and normalised as in the
    network's training. cd-fvd's giant VideoMAE-v2 is another network without normalisation: its numbers are not these.
    """

    network: Any

    def __init__(self, network: Any, *, name: str, checksum: str, batch: int = 8) -> None:
        super().__init__(network, name=name, checksum=checksum, batch=batch)
        self.min_frames = self.max_frames = network.config.num_frames

    @classmethod
    def open(cls, folder: Path, *, name: str, sha256: str | None = None) -> VideoMAEExtractor:
        """Read the model from a folder.

        Raises:
            InputError: as `open_folder`.
        """
        model, found = open_folder(folder, "VideoMAEForVideoClassification", sha256)
        return cls(model, name=name, checksum=found)

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        pixels = _normalise(resize_clips(clips, self.network.config.image_size), _IMAGENET)
        tokens = self.network.videomae(pixel_values=pixels).last_hidden_state
        norm = self.network.fc_norm
        pool = tokens[:, 0] if norm is None else norm(reduce(tokens, "b n d -> b d", "mean"))
        return {"pool": pool, "logits": self.network.classifier(pool)}
