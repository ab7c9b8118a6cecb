"""Where tensors live."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

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
        raise InputError(f'device is "{name}", which is not available here; "cpu" always is') from error


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A block that computes in its tensors' own precision; the meta device, which only counts, has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
