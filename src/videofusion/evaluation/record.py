"""The output of an evaluation: a JSON record with its provenance, and a Markdown table."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.files import write_whole, writing

_PACKAGES = ("videofusion", "torch", "diffusers", "numpy", "scikit-learn", "transformers", "opencv-python-headless")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that a result can depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def checksum(path: Path) -> str:
    """SHA-256 of a file, or of all `.safetensors` and `.json` files of a model's folder.

    Raises:
        InputError: there is no such file or folder, or the folder holds no such file.
    """
    digest = hashlib.sha256()
    inside = sorted(p for p in path.rglob("*") if p.suffix in {".safetensors", ".json"})
    files = [path] if path.is_file() else inside
    if not files:
        raise InputError(f"{path} is neither a file nor a folder with a model's weights")
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON with the versions added; the file is whole or absent.

    Raises:
        RunError: it cannot be written.
    """
    text = json.dumps({**record, "versions": versions()}, indent=1, sort_keys=True) + "\n"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table, its columns padded so that it reads as text too."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
    return "\n".join(lines)
