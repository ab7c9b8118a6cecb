"""Options of commands that make clips with an image model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.generation.image_options import check_foreground, check_kinds


@dataclass(frozen=True, kw_only=True)
class ImageModels:
    """Clips by an image model of diffusers, without training.

    Args:
        negative: what the video is not to show
        system: for image models: text2video-zero (the default there; shared-noise for transformers), shared-noise or
            controlvideo
        controlnet: folders of ControlNets
        structure_kind: what ControlNets are shown: edges (the default), maps (the clip itself is what they are shown),
            depth or pose; one, or one for each
        structure_model: folder of the model of transformers that sees depth or pose
        control_scale: how much ControlNets count; 1 is as trained
        window: how many frames go through the network at once
    """

    negative: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    system: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    controlnet: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    structure_kind: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KIND ...")] = ()
    structure_model: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    control_scale: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    window: Annotated[int | None, tyro.conf.arg(metavar="N")] = None

    def check(self) -> None:
        """Raise InputError for options that do not go together, before a model is read."""
        check_kinds(self.structure_kind, self.structure_model)

    def load(self) -> dict[str, Any]:
        """What `load` takes of them."""
        nets = {"controlnet": [str(each) for each in self.controlnet]} if self.controlnet else {}
        return nets | ({} if self.system is None else {"system": self.system})

    def told(self) -> dict[str, Any]:
        """What a file remembers of them."""
        return {name: str(value) for name, value in vars(self).items() if value not in (None, ())}


@dataclass(frozen=True, kw_only=True)
class NewClips(ImageModels):
    """Those, and what clips that are new take.

    Args:
        structure: for image models with ControlNets, a video whose structure is taken over
        foreground: for text2video-zero, a picture or video that is white where something is in front; what is behind
            follows the first frame
        foreground_model: instead, the folder of a segmentation model of transformers, which sees what is in front
        foreground_label: names of its classes that are in front; all but its class "background" by default
        share: for shared-noise, the part of the noise that all frames share (0.5)
    """

    structure: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    foreground: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    foreground_model: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    foreground_label: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    share: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None

    def check(self) -> None:
        super().check()
        check_foreground(vars(self))

    def rows(self) -> dict[str, Any]:
        """What rows of prompts may have otherwise; `load` has the rest."""
        told = {name: value for name, value in vars(self).items() if name not in ("system", "controlnet")}
        paths = {name: str(value) for name, value in told.items() if isinstance(value, Path)}
        return {**told, **paths, "structure_kind": " ".join(self.structure_kind) or None} | {
            "foreground_label": ",".join(self.foreground_label) or None
        }


PLAIN = ImageModels()
PLAIN_NEW = NewClips()
