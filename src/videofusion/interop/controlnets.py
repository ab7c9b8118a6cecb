"""ControlNets from diffusers folders."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from videofusion.errors import InputError
from videofusion.files import PICKLES
from videofusion.interop.diffusers_unet import check_fit, read_weights
from videofusion.interop.weight_files import read_header
from videofusion.networks.controlnet import ControlNet
from videofusion.trusted import check_foreign

KIND = "ControlNetModel"


def load_controlnet(path: str | Path, unet: nn.Module | None = None) -> ControlNet:
    """A ControlNet in float32, whose weights are those of its files, no more and no less.

    Args:
        path: its folder, or that of a pipeline with one in `controlnet`.
        unet: the `UNet` that it is for, whose sizes are compared.

    Raises:
        InputError: no such folder, another kind of network, one for another U-Net, weights that are a pickle, not whole
            or do not fit.
    """
    import diffusers

    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file() and (folder / "controlnet").is_dir():
        folder = folder / "controlnet"
    if folder.is_file():
        kind = "a pickle, which is refused" if folder.suffix in PICKLES else "a file"
        raise InputError(f"controlnet {folder} is {kind}; expected was the folder of a {KIND} of diffusers")
    if not (folder / "config.json").is_file():
        raise InputError(f"controlnet {folder} has no config.json; expected was the folder of a {KIND} of diffusers")
    config = check_foreign(folder / "config.json")
    if config.get("_class_name") != KIND:
        raise InputError(f"controlnet {folder} is a {config.get('_class_name')}; expected was a {KIND}")
    try:
        with torch.device("meta"):
            model = diffusers.ControlNetModel.from_config(config)
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder / 'config.json'} describes no {KIND}: {first}") from error
    if model.config["addition_embed_type"] not in (None, "text_time") or model.class_embedding is not None:
        raise InputError(
            f"{folder / 'config.json'} has class_embed_type or addition_embed_type, which is not known here"
        )
    net = ControlNet(model)
    if unet is not None:
        try:
            net.check_fits(unet)
        except InputError as error:
            raise InputError(f"{folder / 'config.json'}: {error}") from error
    for file in folder.glob("*.safetensors"):
        read_header(file)
    state = read_weights(folder)
    try:
        check_fit(model.state_dict(), state)
    except InputError as error:
        raise InputError(f"controlnet {folder}: {error}") from error
    model.load_state_dict({name: value.to(torch.float32) for name, value in state.items()}, assign=True)
    return net.eval()
