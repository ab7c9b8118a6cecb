"""Options of image models that name files or models, as what a pipeline is called with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videofusion.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from videofusion.systems.pipeline import VideoPipeline

SEERS = ("depth", "pose")  # kinds of structure that a model sees
KINDS = ("edges", *SEERS, "maps")


def check_kinds(kinds: tuple[str, ...], model: str | Path | None) -> None:
    """Raise InputError for a kind of structure that there is not, or one without the model that sees it.

    Args:
        kinds: of structure, one for all ControlNets or one for each.
        model: folder of the one that sees depth or pose.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"structure_kind is {kind!r}; it must be one of {', '.join(KINDS)}")
        if kind in SEERS and model is None:
            raise InputError(f"structure_model is not given; {kind} needs the folder of a model that sees it")


def check_foreground(given: Mapping[str, Any]) -> None:
    """Raise InputError for a foreground of two kinds, or labels without the model whose classes they name."""
    told = {name for name, value in given.items() if value not in (None, ())}
    if {"foreground", "foreground_model"} <= told:
        raise InputError("foreground_model is given beside a foreground; give one of them")
    if "foreground_label" in told and "foreground_model" not in told:
        raise InputError("foreground_label is given without foreground_model, whose classes it names")


def call_of(
    pipe: VideoPipeline,
    given: Mapping[str, Any],
    *,
    size: tuple[int | None, int | None] = (None, None),
    frames: int | None = None,
) -> dict[str, Any]:
    """What a pipeline's call takes of options, with what their files hold.

    Args:
        pipe: that is called.
        given: negative, control_scale, window, share; structure and foreground, each the path of a file;
            structure_kind, several or a text of them, and structure_model, a folder; foreground_model, a folder, and
            foreground_label, several or a text of them with commas between. None stands for not given.
        size: height and width that are asked for; the pipeline's own when None.
        frames: likewise.

    Raises:
        InputError: a file that cannot be read.
    """
    told = {name: value for name, value in given.items() if value not in (None, ())}
    found: dict[str, Any] = {
        name: told[name] for name in ("negative", "control_scale", "window", "share") if name in told
    }
    if "structure_kind" in told:
        kinds, model = told["structure_kind"], told.get("structure_model")
        kinds = tuple(kinds.split() if isinstance(kinds, str) else kinds)
        check_kinds(kinds, model)
        found["structure_kind"] = [_seer(kind, str(model)) if kind in SEERS else kind for kind in kinds]
    check_foreground(told)
    if "foreground_model" in told:
        labels = told.get("foreground_label", ())
        labels = tuple(labels.split(",") if isinstance(labels, str) else labels)
        found["foreground"] = _segmenter(str(told["foreground_model"]), labels)
    if "structure" in told or "foreground" in told:
        from videofusion.clip import read_mask

        whole = size[0] or int(pipe.config.height), size[1] or int(pipe.config.width)
        if "structure" in told:
            found["structure"] = _read_structure(Path(told["structure"]), whole, frames, int(pipe.config.frames))
        if "foreground" in told:
            found["foreground"] = read_mask(told["foreground"], whole, "foreground")
    return found


@lru_cache(maxsize=2)  # many rows are seen by one model
def _seer(kind: str, model: str) -> Any:
    from videofusion.interop.structure_models import load_depth, load_pose

    return (load_depth if kind == "depth" else load_pose)(model)


@lru_cache(maxsize=1)
def _segmenter(model: str, labels: tuple[str, ...]) -> Any:
    from videofusion.interop.structure_models import load_foreground

    return load_foreground(model, labels)


def _read_structure(path: Path, size: tuple[int, int], frames: int | None, own: int) -> Tensor:
    """The clip whose structure is taken over; `frames` of it, or as many as there are and a model makes, `own`."""
    from videofusion.clip import open_footage, read_clip

    there = len(open_footage(path, "structure"))
    wanted = min(there, own) if frames is None else frames
    return read_clip(path, frames=wanted, size=size, what="structure")
