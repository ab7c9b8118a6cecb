"""Models of transformers that see depth, pose and what is in front, from folders, as their image processors say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videofusion.conditioning.structure import Depth, Foreground, Pose, Preparation
from videofusion.errors import InputError, unknown
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.transformers_models import read_model

DEPTH_KINDS = ("DPTForDepthEstimation", "DepthAnythingForDepthEstimation")
POSE_KINDS = ("VitPoseForPoseEstimation",)
SEGMENTATION_KINDS = ("SegformerForSemanticSegmentation", "BeitForSemanticSegmentation", "DPTForSemanticSegmentation")
_BACKGROUND = "background"
_PROCESSOR = "preprocessor_config.json"


def load_depth(path: str | Path) -> Depth:
    """A model that sees depth.

    Args:
        path: folder of one of `DEPTH_KINDS`, with its preprocessor_config.json.

    Raises:
        InputError: no such folder, another kind of model, weights that are a pickle or do not fit, nothing that says
            how its pictures are prepared; transformers is not installed.
    """
    folder = _folder(path, "depth model", DEPTH_KINDS)
    return Depth(read_model(folder, DEPTH_KINDS, "depth model"), _preparation(folder))


def load_pose(path: str | Path) -> Pose:
    """A model that sees COCO's seventeen points of a person.

    Args:
        path: folder of one of `POSE_KINDS`, with its preprocessor_config.json.

    Raises:
        InputError: as `load_depth`.
    """
    folder = _folder(path, "pose model", POSE_KINDS)
    return Pose(read_model(folder, POSE_KINDS, "pose model"), _preparation(folder))


def load_foreground(path: str | Path, labels: Sequence[str] = ()) -> Foreground:
    """A segmentation model, whose masks are what Text2Video-Zero takes for its foreground.

    Args:
        path: folder of one of `SEGMENTATION_KINDS`, with its preprocessor_config.json.
        labels: names of the classes in its config.json that are in front, in any case; when there are none, all but its
            class "background".

    Raises:
        InputError: as `load_depth`; a label that it does not have, or none where it has no background.
    """
    folder = _folder(path, "segmentation model", SEGMENTATION_KINDS)
    model = read_model(folder, SEGMENTATION_KINDS, "segmentation model")
    names = {str(name).lower(): number for number, name in model.config.id2label.items()}
    for label in labels:
        if label.lower() not in names:
            raise unknown("label", label, names, f" (the classes of {folder})")
    if not labels and _BACKGROUND not in names:
        raise InputError(
            f'labels are not given, and none of the {len(names)} classes of {folder} is "{_BACKGROUND}"; name those '
            "that are in front"
        )
    front = [names[label.lower()] for label in labels] or [names[name] for name in names if name != _BACKGROUND]
    return Foreground(model, _preparation(folder), front)


def _folder(path: str | Path, what: str, kinds: tuple[str, ...]) -> Path:
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise InputError(
            f'{what} is "{path}"; it must be a folder with a config.json and safetensors of {" or ".join(kinds)}'
        )
    return folder


def _preparation(folder: Path) -> Preparation:
    """How pictures are prepared, by the folder's own description."""
    file = folder / _PROCESSOR
    if not file.is_file():
        raise InputError(f"{folder} has no {_PROCESSOR}, which says how its pictures are prepared")
    told: dict[str, Any] = read_json(file)
    size = told.get("size")
    sides = [size.get(each) for each in ("height", "width")] if isinstance(size, dict) else [size, size]
    height, width = (side if type(side) is int and 1 <= side <= 4096 else None for side in sides)
    if height is None or width is None:
        raise InputError(f"{file} has size {size}; it must have a height and a width of 1 to 4096 pixels")
    multiple = told.get("ensure_multiple_of") or 1
    if not (type(multiple) is int and 1 <= multiple <= 256):
        raise InputError(f"{file} has ensure_multiple_of {multiple}; it must be from 1 to 256")
    values = {}
    for name, key in (("mean", "image_mean"), ("std", "image_std")):
        given = told.get(key, [0.5, 0.5, 0.5])
        numbers = isinstance(given, list) and len(given) == 3 and all(isinstance(each, int | float) for each in given)
        if not numbers or (name == "std" and min(given) <= 0):
            raise InputError(f"{file} has {key} {given}; it must be three numbers, deviations above 0")
        values[name] = tuple(float(each) for each in given)
    return Preparation(
        size=(height, width),
        keep_aspect=bool(told.get("keep_aspect_ratio", False)),
        multiple=multiple,
        **values,
    )
