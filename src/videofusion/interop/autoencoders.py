"""Autoencoders of images from files: diffusers folders, and weights of the TAESD family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.interop.diffusers_models import pickles_of, read_diffusers
from videofusion.networks.tiny_autoencoder import TinyAutoencoder
from videofusion.parts import read_tensors
from videofusion.trusted import check_foreign

KINDS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "TinyAutoencoder", "AutoencoderKLTemporalDecoder")


def load_autoencoder(path: str | Path, *, empty: bool = False) -> nn.Module:
    """An autoencoder in float32, whose weights are those of its files, no more and no less.

    Args:
        path: folder of one of `KINDS` (with its config.json), folder of a pipeline that has one in `vae`, or folder
            with weights of the TAESD family, "*_encoder.safetensors" and "*_decoder.safetensors".
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: no such folder, another kind of autoencoder, weights that are a pickle or do not fit.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f'autoencoder is "{path}"; it must be a folder with a config.json and safetensors')
    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    if not (folder / "config.json").is_file():
        return _load_pair(folder, empty)
    config = check_foreign(folder / "config.json")
    name = config.get("_class_name")
    if name not in KINDS:
        raise InputError(f"autoencoder {folder} is a {name}; it must be one of {', '.join(KINDS)}")
    return read_diffusers(_kind(str(name)), folder, config, "autoencoder", empty=empty)


def _kind(name: str) -> Any:
    if name == "TinyAutoencoder":
        return TinyAutoencoder
    import diffusers

    return getattr(diffusers, name)


def _load_pair(folder: Path, empty: bool) -> TinyAutoencoder:
    """Encoder and decoder of the TAESD family, each in a file."""
    files = {part: sorted(folder.glob(f"*_{part}.safetensors")) for part in ("encoder", "decoder")}
    if any(len(found) != 1 for found in files.values()):
        raise InputError(
            f"autoencoder {folder} has no config.json, nor one *_encoder.safetensors and one *_decoder.safetensors; "
            f"of weights it has {pickles_of(folder)}"
        )
    weights = {
        f"{part}.{name}": value.float() for part, (file,) in files.items() for name, value in read_tensors(file).items()
    }
    first = weights.get("decoder.1.weight")  # from latents to the layers' width
    if first is None or first.ndim != 4:
        raise InputError(f"autoencoder {folder} is none of the TAESD family: its decoder has no 1.weight")
    found = TinyAutoencoder(
        latent_channels=first.shape[1], width=first.shape[0], pool="decoder.3.pool.0.weight" in weights
    )
    _check(found.state_dict(), weights, folder)
    if not empty:
        found.load_state_dict(weights)
    return found


def _check(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], folder: Path) -> None:
    wrong = sorted(own.keys() ^ weights.keys()) or [name for name in own if own[name].shape != weights[name].shape]
    if wrong:
        raise InputError(f"autoencoder {folder} is none of the TAESD family: {wrong[0]} does not fit")
