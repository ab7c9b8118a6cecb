"""Models that the user names, a folder or a name on the Hub, with a short name for their contents."""

from __future__ import annotations

from pathlib import Path

from videofusion.errors import InputError, require

_PARTS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def folder_of(name: str, option: str) -> Path:
    """The folder of a model of transformers, fetched from the Hub where it is none here; no pickles are.

    Args:
        name: a folder, or a name on the Hub.
        option: that gave it, for messages.

    Raises:
        InputError: it is neither, or it holds no safetensors.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        hub = require("huggingface_hub", "clip")
        try:
            folder = Path(hub.snapshot_download(name, allow_patterns=_PARTS))
        except (OSError, ValueError) as error:  # no network, no such name, not allowed
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f'{option} is "{name}", which is neither a folder nor on the Hub: {first}') from error
    if not any(folder.glob("*.safetensors")):
        raise InputError(f'{option} is "{name}", which has no safetensors')
    return folder
