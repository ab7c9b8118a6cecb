"""Detects the layout of a path; a new layout is a function in this table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from videofusion.data.items import Source
from videofusion.data.layouts.arrays import list_array
from videofusion.data.layouts.encoded import SETTINGS, list_encoded
from videofusion.data.layouts.hub import list_dataset
from videofusion.data.layouts.listing import files_below, list_frames, list_images, list_videos
from videofusion.data.layouts.metadata import METADATA
from videofusion.data.layouts.shards import INDEX
from videofusion.data.layouts.streaming import list_shards
from videofusion.data.layouts.tables import TABLE_ENDINGS, is_table, list_table
from videofusion.errors import InputError
from videofusion.registry import knows
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS

LAYOUTS: dict[str, Callable[[str | Path, int], Source]] = {
    "folder": list_videos,
    "frames": list_frames,
    "images": list_images,
    "table": list_table,
    "shards": list_shards,
    "array": list_array,
    "datasets": list_dataset,
    "encoded": list_encoded,
}


def open_source(path: str | Path, layout: str = "auto", fold: int = 1) -> Source:
    """List what lies at a path.

    Args:
        path: a folder or file.
        layout: a key of `LAYOUTS`, or "auto" to look at it.
        fold: which division into training and test, for data with split files of several.

    Raises:
        InputError: nothing that can be read as clips, or what could be read as several kinds.
    """
    if layout != "auto" and not knows(LAYOUTS, layout):
        raise InputError(f'layout is "{layout}"; it must be one of auto, {", ".join(LAYOUTS)}')
    found, place = (layout, Path(path)) if layout != "auto" else detect(path)
    if found == "table" and place.is_dir():
        place = _table_in(place)
    # The path as it was given: of a dataset on the Hub it is a name.
    return LAYOUTS[found](path if layout == "datasets" else place, fold)


def detect(path: str | Path) -> tuple[str, Path]:
    """The layout of a path, and the file or folder that the layout begins with.

    Raises:
        InputError: none, or more than one.
    """
    place = Path(path).expanduser()
    suffix = place.suffix.lower()
    if suffix in VIDEO_ENDINGS and not place.exists():
        raise InputError(f'data "{path}" is not there; it must be a folder or a file')
    if place.is_file():
        if suffix == ".tar" or place.name == INDEX:
            return "shards", place
        if suffix == ".npy":
            return "array", place
        if suffix in TABLE_ENDINGS:
            return "table", place
        if suffix in VIDEO_ENDINGS:
            return "folder", place
        allowed = ", ".join((".tar", ".npy", *TABLE_ENDINGS))
        raise InputError(f'data "{path}" is a file of another kind; it must be a folder, a video or one of {allowed}')
    if (place / SETTINGS).is_file():
        return "encoded", place
    root, names = files_below(place)
    if (root / "state.json").is_file() or (root / "dataset_dict.json").is_file():
        return "datasets", root
    endings = {PurePosixPath(name).suffix.lower() for name in names}
    kinds = {
        "shards": ".tar" in endings,
        "array": ".npy" in endings,
        "videos": not endings.isdisjoint(VIDEO_ENDINGS),
        "pictures": not endings.isdisjoint(PICTURE_ENDINGS),
    }
    there = [kind for kind, is_there in kinds.items() if is_there]
    if there == ["pictures"]:
        raise InputError(
            f'data "{path}" contains pictures; choose (layout) "frames" (each folder is a clip) or '
            '"images" (each picture is a clip)'
        )
    if len(there) > 1:
        raise InputError(f'data "{path}" holds {" and ".join(there)}; choose one (layout): {", ".join(LAYOUTS)}')
    if not there:
        tables = _tables(root)  # of files that lie elsewhere
        return ("table", tables[0]) if len(tables) == 1 else ("folder", root)  # which says what is missing
    if there != ["videos"]:
        return there[0], root / INDEX if there == ["shards"] and (root / INDEX).is_file() else root
    if any(PurePosixPath(name).name in METADATA for name in names):
        return "folder", root
    tables = _tables(root)
    if len(tables) > 1:
        listed = ", ".join(table.name for table in tables)
        raise InputError(f'data "{path}" holds several tables ({listed}); give one of them as the data')
    return ("table", tables[0]) if tables else ("folder", root)


def _tables(root: Path) -> list[Path]:
    files = (file for file in sorted(root.iterdir()) if file.suffix.lower() in TABLE_ENDINGS)
    return [file for file in files if file.is_file() and not file.name.startswith(".") and is_table(file)]


def _table_in(root: Path) -> Path:
    tables = _tables(root)
    if len(tables) != 1:
        listed = ", ".join(table.name for table in tables) or "none"
        raise InputError(f'data "{root}" must hold one table of clips ({listed}); give the file itself as the data')
    return tables[0]
