"""Structure of clips, frame by frame: edges, depth and pose for networks conditioned on it, and the foreground.

Edges need no weights, and are what ControlVideo uses by default (Zhang et al. 2023); depth, pose and foreground are
seen by models of transformers, which `interop/structure_models.py` reads from folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videofusion.clip.check import check_clip, to_uint8
from videofusion.device import without_autocast
from videofusion.errors import InputError, require

AT_ONCE = 8  # frames that a model sees together
# Pairs of COCO's seventeen points that a skeleton joins, and the points' colours, by how far around they are.
LIMBS = (
    *((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
    *((0, 1), (0, 2), (1, 3), (2, 4)),
)
SURE = 0.3  # score from which on a point is drawn


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a model wants its pictures.

    Args:
        size: height and width in pixels.
        mean: of each channel of pictures in [0, 1].
        std: likewise.
        keep_aspect: scale both sides alike, by the factor that changes less, in place of squashing.
        multiple: of which both sides are to be.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    keep_aspect: bool = False
    multiple: int = 1

    def __call__(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 y x"]:
        """Frames in [-1, 1] as the model wants them."""
        factors = [wanted / side for wanted, side in zip(self.size, frames.shape[-2:], strict=True)]
        if self.keep_aspect:
            factors = [min(factors, key=lambda factor: abs(1 - factor))] * 2
        height, width = (
            max(1, round(factor * side / self.multiple)) * self.multiple
            for factor, side in zip(factors, frames.shape[-2:], strict=True)
        )
        pictures = frames.float() / 2 + 0.5
        if (height, width) != tuple(frames.shape[-2:]):
            pictures = interpolate(pictures, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(each).to(pictures)[:, None, None] for each in (self.mean, self.std))
        return (pictures - mean) / std


def edges(clips: Float[Tensor, "b t c h w"], *, low: int = 100, high: int = 200) -> Float[Tensor, "b t 1 h w"]:
    """Edges by Canny's method (OpenCV): 1 on an edge, 0 elsewhere.

    Args:
        clips: values in [-1, 1].
        low: gradient from which on what joins an edge is one, of values of 0 to 255.
        high: gradient from which on anything is one.

    Raises:
        InputError: other clips, bounds that are out of order; OpenCV is not installed.
    """
    check_clip(clips, name="clips", axes="b t c h w")
    if not 0 <= low <= high:
        raise InputError(f"low is {low} and high is {high}; they must be in order, from 0")
    cv2 = require("cv2", extra="flow")
    found = [[cv2.Canny(frame, low, high) for frame in clip] for clip in to_uint8(clips).numpy()]
    return torch.from_numpy(np.array(found, np.float32) / 255)[:, :, None].to(clips.device)


class Depth:
    """Depth seen by a model of transformers, 1 where a clip is nearest and 0 where it is furthest.

    The range is that of the clip: of each frame by itself it would flicker.

    Args:
        model: gives `predicted_depth` of pictures, larger where things are nearer.
        prepare: its pictures.
    """

    def __init__(self, model: nn.Module, prepare: Preparation) -> None:
        self.model, self.prepare = model.eval().requires_grad_(False), prepare

    @torch.no_grad()
    def __call__(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 1 h w"]:
        """The maps of clips in [-1, 1]; raises InputError for other clips."""
        seen = _each(self.model, self.prepare, clips, "predicted_depth")[:, None]
        maps = interpolate(seen, tuple(clips.shape[-2:]), mode="bicubic").unflatten(0, clips.shape[:2])
        low, high = maps.amin(dim=(1, 2, 3, 4), keepdim=True), maps.amax(dim=(1, 2, 3, 4), keepdim=True)
        return (maps - low) / (high - low).clamp_min(1e-6)


class Pose:
    """One person's pose seen by a model of transformers, drawn as a coloured skeleton on black.

    The whole frame is looked at as the person's box: crop clips to the person for the best of it.

    Args:
        model: gives `heatmaps` of COCO's seventeen points.
        prepare: its pictures.
    """

    def __init__(self, model: nn.Module, prepare: Preparation) -> None:
        self.model, self.prepare = model.eval().requires_grad_(False), prepare

    @torch.no_grad()
    def points(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 17 3"]:
        """Points as x and y in pixels of the clips, and their scores.

        Raises:
            InputError: other clips, or a model of other points.
        """
        heat = _each(self.model, self.prepare, clips, "heatmaps")
        if heat.shape[1] != 17:
            raise InputError(f"the pose model sees {heat.shape[1]} points; it must be one of COCO's seventeen")
        score, at = heat.flatten(2).max(dim=2)
        height, width = heat.shape[-2:]
        x = (at % width + 0.5) * clips.shape[-1] / width - 0.5
        y = (at // width + 0.5) * clips.shape[-2] / height - 0.5
        return torch.stack([x, y, score], dim=-1).unflatten(0, clips.shape[:2])

    def __call__(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 h w"]:
        """The skeletons of clips in [-1, 1], RGB in [0, 1]; raises InputError as `points`, or without OpenCV."""
        return draw_skeletons(self.points(clips), *clips.shape[-2:])


class Foreground:
    """What is in front of the background, seen by a model of transformers that names what every pixel shows.

    Args:
        model: gives `logits` of classes at places of pictures.
        prepare: its pictures.
        classes: numbers of those that are in front.
    """

    def __init__(self, model: nn.Module, prepare: Preparation, classes: Sequence[int]) -> None:
        self.model, self.prepare, self.classes = model.eval().requires_grad_(False), prepare, tuple(classes)

    @torch.no_grad()
    def __call__(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 1 h w"]:
        """The masks of clips in [-1, 1], 1 in front and 0 behind; raises InputError for other clips."""
        seen = _each(self.model, self.prepare, clips, "logits")
        found = interpolate(seen, tuple(clips.shape[-2:]), mode="bilinear").argmax(dim=1, keepdim=True)
        front = torch.isin(found, torch.tensor(self.classes, device=found.device))
        return front.float().unflatten(0, clips.shape[:2])


def draw_skeletons(points: Float[Tensor, "b t 17 3"], height: int, width: int) -> Float[Tensor, "b t 3 h w"]:
    """Skeletons of points x, y and score, RGB in [0, 1] on black, for frames of that size in pixels.

    Raises:
        InputError: OpenCV is not installed.
    """
    cv2 = require("cv2", extra="flow")
    thick = max(1, round(min(height, width) / 128))
    pictures = []
    for found in points.flatten(0, 1).cpu().numpy():
        picture = np.zeros((height, width, 3), np.uint8)
        for number, (one, other) in enumerate(LIMBS):
            if min(found[one, 2], found[other, 2]) < SURE:
                continue
            hue = np.array([[[180 * number // len(LIMBS), 255, 255]]], np.uint8)
            colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
            ends = [tuple(round(float(each)) for each in found[end, :2]) for end in (one, other)]
            cv2.line(picture, *ends, colour, thick, cv2.LINE_AA)
        pictures.append(picture)
    drawn = torch.from_numpy(np.stack(pictures)).movedim(-1, 1).float() / 255
    return drawn.unflatten(0, points.shape[:2]).to(points.device)


def _each(model: Any, prepare: Preparation, clips: Tensor, name: str) -> Tensor:
    """What a model says of the frames of clips [b·t ...], some of them at a time."""
    check_clip(clips, name="clips", axes="b t c h w")
    if clips.shape[2] != 3:
        raise InputError(f"clips have {clips.shape[2]} channels; they must have 3")
    model, found = model.to(clips.device), []
    with without_autocast(clips.device):
        for some in clips.flatten(0, 1).split(AT_ONCE):
            pictures = prepare(some)
            try:
                found.append(getattr(model(pictures), name).float())
            except ValueError as error:  # sizes are checked in the model's own way
                height, width = pictures.shape[-2:]
                raise InputError(
                    f"the {type(model).__name__} does not take pictures of {width}x{height}, the size in its "
                    f"preprocessor_config.json ({error})"
                ) from error
    return torch.cat(found)
