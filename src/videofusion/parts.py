"""Reads a model's networks straight into place, all at once or each when it is needed."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from videofusion.errors import InputError, require
from videofusion.files import check_regular
from videofusion.trusted import LOCAL, check_foreign, check_own

_Part = TypeVar("_Part", bound=nn.Module)
WEIGHTS = "diffusion_pytorch_model.safetensors"


def describe(kind: type[_Part], folder: Path, dtype: torch.dtype = torch.float32) -> _Part:
    """A part of ours of a dtype without weights (on the device "meta"), as the config.json of its folder says.

    Raises:
        InputError: the file cannot be read, or says what no such part can be.
    """
    config = check_own(folder / "config.json", kind)
    part = _on_meta(lambda: kind(**{key: value for key, value in config.items() if not key.startswith("_")}), folder)
    nn.Module.to(part, dtype)  # diffusers' own warns of nothing
    return part.eval()


def open_part(module: str, class_name: str, folder: Path, device: torch.device) -> Any:
    """A part of a pipeline in float32, on a device: a network, an encoder or a tokenizer.

    Args:
        module: of its class; with the next it stands in `trusted.PARTS`.
        class_name: of it.
        folder: its own in the model's.
        device: where it computes.

    Raises:
        InputError: the folder cannot be read, or holds another part than it says.
    """
    if module == "transformers":
        require("transformers", extra="clip")
    kind = getattr(importlib.import_module(module), class_name)
    if module.split(".")[0] not in ("transformers", "diffusers"):  # ours, and those of installed systems
        part = describe(kind, folder)
        fill(part, folder, device)
        return part
    if not issubclass(kind, nn.Module):
        return _read(folder, lambda: kind.from_pretrained(folder, **LOCAL))
    config = check_foreign(folder / "config.json")
    if module == "transformers":
        check_count(folder, _on_meta(lambda: kind(kind.config_class(**config)), folder))
        part = _read(folder, lambda: _whole(kind, folder, use_safetensors=True, dtype=torch.float32, **LOCAL))
        return part.to(device).eval()
    check_names(folder / WEIGHTS, _on_meta(lambda: kind.from_config(config), folder))
    options = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}
    # an exported file may hold half precision; of ours, networks alone take it
    return nn.Module.to(_read(folder, lambda: kind.from_pretrained(folder, **options)), device, torch.float32).eval()


@contextmanager
def without_bars() -> Iterator[None]:
    """Have transformers read and write weights without its progress bars; those of downloads stay."""
    logging: Any = sys.modules.get("transformers.utils.logging")  # of a model without parts of its, it is not there
    if logging is None or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def check_count(folder: Path, part: nn.Module) -> None:
    """Raise InputError for a part that would take more than twice the memory of what its folder's files hold.

    Args:
        folder: with safetensors.
        part: what the configuration describes, on the device "meta". That its weights are those of the files, no fewer
            and no more, is for whoever loads them.
    """
    wanted, stored = sum(each.numel() for each in part.parameters()), 0
    for path in folder.glob("*.safetensors"):
        with _opened(path) as file:
            stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    if wanted > 2 * stored:
        raise InputError(f"{folder} has {stored:,} weights, but its config.json asks for {wanted:,}")


def _whole(kind: Any, folder: Path, **options: Any) -> Any:
    with without_bars():
        part, told = kind.from_pretrained(folder, **options, output_loading_info=True)
    for key in ("missing_keys", "mismatched_keys"):  # which transformers fills with random numbers
        if told.get(key):
            raise ValueError(f"its weights lack {sorted(map(str, told[key]))[0]}")
    return part


def _on_meta(make: Any, folder: Path) -> Any:
    def described() -> Any:
        with torch.device("meta"):
            return make()

    return _read(folder, described)


def _read(folder: Path, make: Any) -> Any:
    try:
        return make()
    except InputError as error:
        raise InputError(f"{folder} cannot be loaded: {error}") from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, AssertionError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} cannot be loaded: {first}") from error


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
            tensor.copy_(file.get_tensor(name))


def check_names(path: Path, part: nn.Module) -> None:
    """Raise InputError for a file of weights that misses some, has others or has them in other shapes."""
    wanted = {name: [*tensor.shape] for name, tensor in part.state_dict().items()}
    with _opened(path) as file:
        stored = set(file.keys())
        if stored != set(wanted):
            raise InputError(
                f"{path} holds other weights than its config.json asks for: {len(wanted.keys() - stored)} are missing "
                f"and {len(stored - wanted.keys())} unknown ({sorted(stored ^ wanted.keys())[0]} is one)"
            )
        for name, shape in wanted.items():
            found = file.get_slice(name).get_shape()
            if found != shape:
                raise InputError(f"{path} cannot be loaded: {name} has the shape {found}, not {shape}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors; raises InputError, with the file's name, where it cannot be read."""
    try:
        check_regular(path)
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be loaded: {error}") from error


def _opened(path: Path) -> safe_open:
    try:
        check_regular(path)
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
