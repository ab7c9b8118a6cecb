"""What a clip is, and how one is read, written and laid out as a picture.

A clip is a float32 tensor `t c h w` with values in [-1, 1]; several are `b t c h w`.

The names below are imported when they are first asked for, so that a command can look where its result goes
(`clip.output`) without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videofusion.clip.check import check_clip as check_clip
    from videofusion.clip.check import from_uint8 as from_uint8
    from videofusion.clip.check import to_uint8 as to_uint8
    from videofusion.clip.output import CLIP_ENDINGS as CLIP_ENDINGS
    from videofusion.clip.output import check_output as check_output
    from videofusion.clip.provenance import read_provenance as read_provenance
    from videofusion.clip.reading import open_footage as open_footage
    from videofusion.clip.reading import read_clip as read_clip
    from videofusion.clip.reading import read_mask as read_mask
    from videofusion.clip.sheet import contact_sheet as contact_sheet
    from videofusion.clip.sheet import save_sheet as save_sheet
    from videofusion.clip.writing import watchable_scale as watchable_scale
    from videofusion.clip.writing import write_clip as write_clip
    from videofusion.clip.writing import write_frames as write_frames

_HOME = {
    "CLIP_ENDINGS": "output",
    "check_clip": "check",
    "check_output": "output",
    "contact_sheet": "sheet",
    "from_uint8": "check",
    "open_footage": "reading",
    "read_clip": "reading",
    "read_mask": "reading",
    "read_provenance": "provenance",
    "save_sheet": "sheet",
    "to_uint8": "check",
    "watchable_scale": "writing",
    "write_clip": "writing",
    "write_frames": "writing",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a name from where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
