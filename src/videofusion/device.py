"""Where tensors live."""

from __future__ import annotations

import torch

from videofusion.errors import InputError


def pick_device(name: str | None = None) -> torch.device:
    """The device of a name ("cpu", "cuda", "cuda:1", "mps", ...), or the first accelerator there is.

    Raises:
        InputError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch says it either way
        raise InputError(f'device is "{name}", which is not to be had here; "cpu" always is') from error
