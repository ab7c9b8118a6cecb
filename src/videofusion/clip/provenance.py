"""Provenance inside a clip's file: generated clips say so.

One JSON text, in the place where each container keeps a comment: MP4's comment, GIF's
comment, the image description of WebP's EXIF, PNG's "Description" text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
from PIL import Image

from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json
from videofusion.version import __version__
from videofusion.video.footage import readable

_STATEMENT = "This video is AI-generated."
# IPTC's term for it, which provenance readers look for.
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
EXIF_DESCRIPTION = 0x010E
_MOST_PIXELS = 8192 * 4608


def provenance_text(provenance: Mapping[str, Any]) -> str:
    """Return the JSON that goes into a file: the statement, the software, then what is given.

    Args:
        provenance: what is known about the making, e.g. model, prompt, seed.

    Raises:
        InputError: a value that JSON cannot hold.
    """
    known = {
        "statement": _STATEMENT,
        "software": f"videofusion {__version__}",
        "digital_source_type": _SOURCE_TYPE,
        **provenance,
    }
    try:
        return json.dumps(known)  # in ASCII, which every one of the containers keeps as it is
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance holds a value that JSON cannot represent: {error}") from error


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Return what `write_clip` or `save_sheet` wrote about a file's origin, None if nothing.

    Raises:
        InputError: the file is not there or cannot be read.
    """
    path = Path(path)
    try:
        check_regular(path)
        text = _pillow_comment(path) if path.suffix.lower() in (".png", ".gif", ".webp") else _av_comment(path)
    except (OSError, ValueError, SyntaxError) as error:  # FFmpeg's errors are one of these, too
        raise InputError(f'"{path}" cannot be read: {getattr(error, "strerror", None) or error}') from error
    try:
        known = parse_json(text or "")
    except ValueError:  # somebody else's comment
        return None
    return known if isinstance(known, dict) else None


def _pillow_comment(path: Path) -> str | None:
    with Image.open(path, formats=("PNG", "GIF", "WEBP")) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"it is {image.width}x{image.height} pixels large")
        image.load()  # PNG texts may stand behind the picture
        comment = image.info.get("comment") or image.info.get("Description")
        comment = comment or image.getexif().get(EXIF_DESCRIPTION)
    return comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment


def _av_comment(path: Path) -> str | None:
    with av.open(readable(path), metadata_errors="replace") as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    return tags.get("comment")
