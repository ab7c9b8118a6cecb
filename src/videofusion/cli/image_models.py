"""Options of commands that make clips with an image model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.errors import InputError
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
        ip_adapter: for image models with a U-Net, file of an IP-Adapter: a picture as a second prompt
        ip_adapter_image: that picture
        ip_adapter_encoder: folder of the CLIP image encoder that the adapter was trained with
        ip_adapter_scale: how much the picture counts; 1 is as trained
    """

    structure: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    foreground: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    foreground_model: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    foreground_label: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    share: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    ip_adapter: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    ip_adapter_image: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    ip_adapter_encoder: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    ip_adapter_scale: Annotated[float | None, tyro.conf.arg(metavar="N")] = None

    def check(self) -> None:
        super().check()
        check_foreground(vars(self))
        needed = {name: getattr(self, f"ip_{name}") for name in ("adapter", "adapter_image", "adapter_encoder")}
        missing = [name.replace("_", "-") for name, value in needed.items() if value is None]
        if missing and (len(missing) < len(needed) or self.ip_adapter_scale is not None):
            raise InputError(
                f"--ip-{missing[0]} is not given; IP-Adapter takes its file, a picture and an image encoder"
            )

    def add_picture(self, pipe: Any) -> None:
        """Have a pipeline take the picture of the IP-Adapter, if one is given."""
        if self.ip_adapter is None:
            return
        from videofusion.clip import read_clip

        if not hasattr(pipe, "add_picture"):
            raise InputError(f"--ip-adapter is {self.ip_adapter}; this model takes none, image models do")
        picture = read_clip(str(self.ip_adapter_image), frames=1, what="picture")[0]
        scale = 1.0 if self.ip_adapter_scale is None else self.ip_adapter_scale
        pipe.add_picture(picture, self.ip_adapter, self.ip_adapter_encoder, scale)

    def rows(self) -> dict[str, Any]:
        """What rows of prompts may have otherwise; `load` has the rest."""
        told = {name: value for name, value in vars(self).items() if name not in _NOT_OF_ROWS}
        paths = {name: str(value) for name, value in told.items() if isinstance(value, Path)}
        return {**told, **paths, "structure_kind": " ".join(self.structure_kind) or None} | {
            "foreground_label": ",".join(self.foreground_label) or None
        }


_NOT_OF_ROWS = ("system", "controlnet", "ip_adapter", "ip_adapter_image", "ip_adapter_encoder", "ip_adapter_scale")
PLAIN = ImageModels()
PLAIN_NEW = NewClips()
