"""A model's networks: read from their files straight into place, all at once or each when its turn comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from videofusion.errors import InputError

if TYPE_CHECKING:
    from videofusion.networks.unet import UNet

WEIGHTS = "diffusion_pytorch_model.safetensors"


def describe(kind: type[UNet], folder: Path, dtype: torch.dtype = torch.float32) -> UNet:
    """A network of a dtype without weights (on the device "meta"), as the config.json of its folder says."""
    with torch.device("meta"):
        network: UNet = kind.from_config(kind.load_config(folder, local_files_only=True))
    nn.Module.to(network, dtype)  # diffusers' own warns of nothing
    return network.eval()


def fill(network: nn.Module, folder: Path, device: torch.device) -> None:
    """Give a network the weights of its folder, converted to its own dtype, on a device.

    `from_pretrained` of diffusers would draw random weights first, and hold the whole file beside them.

    Raises:
        InputError: the file cannot be read, or holds other weights than the network has.
    """
    path = folder / WEIGHTS
    check_names(path, network)
    network.to_empty(device=device)
    for name, tensor in network.state_dict().items():
        # Opened for each tensor anew: pages of the file count as this process's memory until it is closed.
        with _opened(path) as file:
            stored = file.get_tensor(name)
            if stored.shape != tensor.shape:
                raise InputError(
                    f"{path} cannot be loaded: {name} has the shape {[*stored.shape]}, not {[*tensor.shape]}"
                )
            tensor.copy_(stored)


def check_names(path: Path, part: nn.Module) -> None:
    """Raise InputError for a file of weights that misses some or has others; diffusers would only warn."""
    with _opened(path) as file:
        stored = set(file.keys())
    wanted = set(part.state_dict())
    if stored != wanted:
        example = sorted(stored ^ wanted)[0]
        raise InputError(
            f"{path} holds other weights than its config.json asks for: {len(wanted - stored)} are missing and "
            f"{len(stored - wanted)} unknown ({example} is one)"
        )


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be loaded: {error}") from error


class Turns:
    """Networks of which only the one that is called is in memory.

    When another one is called, its weights are read and those of the first let go. That is cheap where one network
    takes all of its steps before the next one begins, and a reading of gigabytes at every step where they alternate.

    Args:
        device: on which the networks compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.held: nn.Module | None = None

    def add(self, network: nn.Module, folder: Path) -> None:
        """Have a network without weights take its turn, with those of its folder.

        Raises:
            InputError: now, rather than when its turn comes: the file cannot be read, or holds other weights.
        """
        check_names(folder / WEIGHTS, network)

        def take(*_: object) -> None:
            if self.held is not network:
                if self.held is not None:
                    self.held.to("meta")
                fill(network, folder, self.device)
                self.held = network

        network.register_forward_pre_hook(take)
