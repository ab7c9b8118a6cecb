"""Permissions of files that other libraries write for us."""

from __future__ import annotations

import stat
from pathlib import Path


def give_usual_mode(place: Path) -> None:
    """Give a file, or all files in a folder, the mode that new files of this user have; safetensors writes 0600.

    Args:
        place: the file or folder, which no other process uses yet.

    Raises:
        OSError: the disk is full, ...
    """
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    # the mask itself cannot be read without setting it for all threads
    probe = place / ".mode" if place.is_dir() else place.with_name(f".{place.name}.mode")
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in files:
        path.chmod(mode)
