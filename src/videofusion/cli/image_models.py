"""Options of commands that make clips with an image model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from videofusion.systems.pipeline import VideoPipeline

_KINDS = ("edges", "depth", "pose", "maps")


@dataclass(frozen=True, kw_only=True)
class ImageModels:
    """Clips by an image model of diffusers, without training.

    Args:
        system: for image models: text2video-zero (the default there; shared-noise for transformers), shared-noise or
            controlvideo
        controlnet: folders of ControlNets
        structure_kind: what ControlNets are shown: edges (the default), maps (the clip itself is what they are shown),
            depth or pose; one, or one for each
        structure_model: folder of the model of transformers that sees depth or pose
        control_scale: how much ControlNets count; 1 is as trained
        window: how many frames go through the network at once
    """

    system: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    controlnet: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    structure_kind: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KIND ...")] = ()
    structure_model: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    control_scale: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    window: Annotated[int | None, tyro.conf.arg(metavar="N")] = None

    def check(self) -> None:
        """Raise InputError for options that do not go together, before a model is read."""
        for kind in self.structure_kind:
            if kind not in _KINDS:
                raise InputError(f"structure_kind is {kind!r}; it must be one of {', '.join(_KINDS)}")
            if kind in ("depth", "pose") and self.structure_model is None:
                raise InputError(f"structure_model is not given; {kind} needs the folder of a model that sees it")

    def load(self) -> dict[str, Any]:
        """What `load` takes of them."""
        nets = {"controlnet": [str(each) for each in self.controlnet]} if self.controlnet else {}
        return nets | ({} if self.system is None else {"system": self.system})

    def call(self) -> dict[str, Any]:
        """What a pipeline's call takes of them."""
        given = {"control_scale": self.control_scale, "window": self.window}
        found = {name: value for name, value in given.items() if value is not None}
        return found | (
            {"structure_kind": [self._seer(kind) for kind in self.structure_kind]} if self.structure_kind else {}
        )

    def told(self) -> dict[str, Any]:
        """What a file remembers of them."""
        return {name: str(value) for name, value in vars(self).items() if value not in (None, ())}

    def _seer(self, kind: str) -> Any:
        if kind not in ("depth", "pose"):
            return kind
        from videofusion.interop.structure_models import load_depth, load_pose

        return (load_depth if kind == "depth" else load_pose)(str(self.structure_model))


@dataclass(frozen=True, kw_only=True)
class NewClips(ImageModels):
    """Those, and what clips that are new take.

    Args:
        structure: for image models with ControlNets, a video whose structure is taken over
        foreground: for text2video-zero, a picture or video that is white where something is in front; what is behind
            follows the first frame
        share: for shared-noise, the part of the noise that all frames share (0.5)
    """

    structure: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    foreground: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    share: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None

    def call_of(self, pipe: VideoPipeline, asked: tuple[int | None, int | None], frames: int | None) -> dict[str, Any]:
        """What a pipeline's call takes of them, with what files hold, at the height and width that are asked for."""
        found = self.call() | ({} if self.share is None else {"share": self.share})
        if self.structure is None and self.foreground is None:
            return found
        size = asked[0] or int(pipe.config.height), asked[1] or int(pipe.config.width)
        if self.structure is not None:
            found["structure"] = _read_structure(self.structure, size, frames, int(pipe.config.frames))
        if self.foreground is not None:
            found["foreground"] = _read_foreground(self.foreground, size)
        return found


def _read_structure(path: Path, size: tuple[int, int], frames: int | None, own: int) -> Tensor:
    """The clip whose structure is taken over; `frames` of it, or as many as there are and a model makes, `own`."""
    from videofusion.clip import read_clip
    from videofusion.video.decode import Unreadable, open_video

    try:
        there = len(open_video(path.expanduser()))
    except Unreadable as error:
        raise InputError(f'the structure "{path}" cannot be read: {error}') from error
    return read_clip(path, frames=min(there, own) if frames is None else frames, size=size)


def _read_foreground(path: Path, size: tuple[int, int]) -> Tensor:
    """A mask [t 1 h w] of what is in front, white in a picture or a video, at a size."""
    import torch

    from videofusion.clip import read_clip

    return (read_clip(path, size=size).mean(dim=1, keepdim=True) > 0).to(torch.float32)


PLAIN = ImageModels()
PLAIN_NEW = NewClips()
