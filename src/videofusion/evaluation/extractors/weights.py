"""Weights of feature networks: read whole and strictly, whatever their names, and written as safetensors."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.evaluation.extractors import c3d, i3d, inception, lpips
from videofusion.evaluation.record import checksum
from videofusion.files import whole_path, writing


class Architecture(NamedTuple):
    """A network, what others call its weights, and the name for which a name in a file stands ("" for none)."""

    make: Callable[[], nn.Module]
    public_name: Callable[[str], str]
    known_as: Callable[[str], str] = str


ARCHITECTURES = {
    "i3d": Architecture(i3d.I3D, i3d.public_name),
    "c3d": Architecture(c3d.C3D, c3d.public_name),
    "inception-v3": Architecture(inception.InceptionV3, inception.public_name),
    "lpips-alex": Architecture(lambda: lpips.LPIPS("alex"), lpips.public_name, lpips.known_as),
    "lpips-vgg": Architecture(lambda: lpips.LPIPS("vgg"), lpips.public_name, lpips.known_as),
}


def verify(path: Path, sha256: str | None) -> str:
    """The SHA-256 of a file of weights, in hexadecimal.

    Raises:
        InputError: there is no such file, or it has another checksum than `sha256`.
    """
    if not path.is_file():
        raise InputError(f"weights are {path}, which does not exist")
    found = checksum(path)
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"weights {path} have the SHA-256 {found}, not {sha256}")
    return found


def open_torchscript(path: Path, sha256: str | None) -> torch.jit.ScriptModule:
    """Load a TorchScript, which is a program, so only one whose checksum the caller knows.

    Raises:
        InputError: no checksum is given, it is another, or the file is no TorchScript.
    """
    if sha256 is None:
        raise InputError(f"{path} would be run as a TorchScript, which is a program: give the sha256 that it must have")
    verify(path, sha256)
    if not _is_torchscript(path):
        raise InputError(f"weights {path} are not a TorchScript")
    try:
        with warnings.catch_warnings():  # torch would rather have torch.export, which cannot open what is published
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise InputError(f"weights {path} cannot be read as a TorchScript: {_first_line(error)}") from error


def read_weights(path: Path, *, torchscript: bool = False, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file: safetensors, or a plain state dict that `torch.save` wrote; no code in it is run.

    Args:
        path: the file.
        torchscript: take the tensors of a TorchScript.
        sha256: the checksum that the file must have; needed for a TorchScript.

    Raises:
        InputError: no such file, another checksum, or no plain dictionary of tensors.
    """
    if torchscript:
        return dict(open_torchscript(path, sha256).state_dict())
    verify(path, sha256)
    if _is_torchscript(path):
        raise InputError(f"weights {path} are a TorchScript, a program: allow it with torchscript and its sha256")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose own words advise to run what the file says
        raise InputError(f"weights {path} cannot be read: they hold no tensors, or more than tensors") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"weights {path} cannot be read: {_first_line(error)}") from error
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise InputError(f"weights {path} are not a plain state dict (names and tensors)")
    return dict(stored)


def recognise(stored: Mapping[str, Tensor], path: Path) -> tuple[str, dict[str, Tensor]]:
    """Which architecture a file's weights are of, and the weights under our names and in our shapes.

    Args:
        stored: the tensors by our names or by those of the public implementation.
        path: of the file, for the sentences.

    Raises:
        InputError: they are of no network known here, some are missing or unknown, or have other shapes.
    """
    best: tuple[int, str, dict[str, str], dict[str, Tensor]] | None = None
    for architecture, (make, public_name, known_as) in ARCHITECTURES.items():
        names = {known_as(name) for name in stored if not _counts_batches(name)} - {""}
        with torch.device("meta"):  # names and shapes only
            wanted = {name: value for name, value in make().state_dict().items() if not _counts_batches(name)}
        for rename in (public_name, str):
            theirs = {name: rename(name) for name in wanted}
            common = len(names & set(theirs.values()))
            if common and (best is None or common > best[0]):
                best = common, architecture, theirs, wanted
    if best is None:
        example = f" ({min(stored)} is one of its names)" if stored else ""
        raise InputError(f"weights {path} are of none of the networks {', '.join(ARCHITECTURES)}{example}")
    _, architecture, theirs, wanted = best
    known_as = ARCHITECTURES[architecture].known_as
    stored = {known_as(name): value for name, value in stored.items() if not _counts_batches(name) and known_as(name)}
    mine = {name: stored[theirs[name]] for name in wanted if theirs[name] in stored}
    unknown = sorted(set(stored) - set(theirs.values()))
    missing = sorted(set(wanted) - set(mine))
    if architecture == "c3d" and missing == ["mean"]:
        warnings.warn(f"{path} has no mean of the training clips; using the mean of each colour", stacklevel=2)
        mine["mean"], missing = torch.tensor(c3d.CHANNEL_MEAN)[:, None, None, None].expand(wanted["mean"].shape), []
    if unknown or missing:
        raise InputError(
            f"weights {path} are not {architecture}'s: {len(missing)} are missing and {len(unknown)} unknown "
            f"({([theirs[name] for name in missing] + unknown)[0]} is one)"
        )
    if architecture == "i3d" and mine["logits.weight"].ndim == 5:  # the public network has a convolution over 1x1x1
        mine["logits.weight"] = mine["logits.weight"].flatten(1)
    for name, value in mine.items():
        if value.shape != wanted[name].shape:
            raise InputError(
                f"weights {path} are not {architecture}'s: {theirs[name]} has the shape {tuple(value.shape)}, "
                f"but must have {tuple(wanted[name].shape)}"
            )
    if any((value < 0).any() for name, value in mine.items() if name.startswith("heads.")):
        raise InputError(f"weights {path} are not {architecture}'s: some of its heads are negative")
    return architecture, {name: value.float().contiguous() for name, value in mine.items()}


def load_into(network: nn.Module, architecture: str, path: Path, sha256: str | None = None) -> str:
    """Fill a network with the weights of a file, strictly, and return the file's checksum.

    Raises:
        InputError: as `read_weights` and `recognise`, or the file holds another network's weights.
    """
    found, weights = recognise(read_weights(path, sha256=sha256), path)
    if found != architecture:
        raise InputError(f"weights {path} are {found}'s, not {architecture}'s")
    network.load_state_dict(weights)
    return checksum(path)


def convert(
    path: Path, out: Path, *, torchscript: bool = False, sha256: str | None = None, heads: Path | None = None
) -> str:
    """Write a public file's weights as safetensors under our names.

    Args:
        path: a plain state dict (.pt, .pth), safetensors, or a TorchScript.
        out: the new file, ends in .safetensors; whole or absent.
        torchscript: take the tensors of a TorchScript.
        sha256: the checksum that `path` must have; needed for a TorchScript.
        heads: of LPIPS, which its authors keep apart from the network that they sit on (alex.pth, vgg.pth).

    Returns:
        the architecture, a name of `ARCHITECTURES`.

    Raises:
        InputError: as `read_weights` and `recognise`, or `out` exists or ends otherwise.
        RunError: it cannot be written.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"out is {out}, but must end in .safetensors")
    if out.exists():
        raise InputError(f"out is {out}, which exists; name a file that does not")
    stored = read_weights(path, torchscript=torchscript, sha256=sha256)
    source = {"source_sha256": checksum(path)}
    if heads is not None:
        stored |= read_weights(heads)
        source["heads_sha256"] = checksum(heads)
    architecture, weights = recognise(stored, path)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with whole_path(out) as draft:
        save_file(weights, draft, {"architecture": architecture, **source})
    return architecture


def _counts_batches(name: str) -> bool:
    """Old files do not have these counters of batch norms, and a frozen network has no use for them."""
    return name.endswith("num_batches_tracked")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
