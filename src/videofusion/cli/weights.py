"""`videofusion weights convert` and `videofusion weights unpack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def convert(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.safetensors")],
    *,
    torchscript: bool = False,
    sha256: str | None = None,
    heads: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Write the weights of a public feature network (I3D, C3D, Inception-v3, LPIPS) as safetensors.

    Args:
        file: a state dict, as rgb_imagenet.pt or i3d_pretrained_400.pt; or a TorchScript
        out: the new file
        torchscript: allow a TorchScript, which is a program; needs --sha256
        sha256: the checksum that the file must have
        heads: for LPIPS: its authors' alex.pth or vgg.pth, with torchvision's AlexNet or VGG-16 as FILE
    """
    from videofusion.evaluation.extractors import convert as write
    from videofusion.evaluation.record import checksum

    architecture = write(file, out, torchscript=torchscript, sha256=sha256, heads=heads)
    print(f"{out}  {architecture}  sha256 {checksum(out)}")


def unpack(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    *,
    like: Annotated[Path, tyro.conf.arg(metavar="DIR")],
) -> None:
    """Write the folder of a model that is in one file of safetensors: a Stable Diffusion, or ModelScope's video U-Net.

    Args:
        file: the model
        out: the new folder, which --model and --base take
        like: folder of a diffusers pipeline of the same kind, for what the file does not hold: configurations and
            tokenizer; for a video U-Net, the other parts too
    """
    from videofusion.interop.single_file import unpack_single_file

    print(unpack_single_file(file, like, out))
