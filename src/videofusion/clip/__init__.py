"""What a clip is, and how one is read, written and laid out as a picture.

A clip is a float32 tensor `t c h w` with values in [-1, 1]; several are `b t c h w`.
"""

from videofusion.clip.check import check_clip, from_uint8, to_uint8
from videofusion.clip.encode import watchable_scale, write_clip, write_frames
from videofusion.clip.output import CLIP_ENDINGS, check_output, write_whole
from videofusion.clip.provenance import read_provenance
from videofusion.clip.reading import read_clip
from videofusion.clip.sheet import contact_sheet, save_sheet

__all__ = [
    "CLIP_ENDINGS",
    "check_clip",
    "check_output",
    "contact_sheet",
    "from_uint8",
    "read_clip",
    "read_provenance",
    "save_sheet",
    "to_uint8",
    "watchable_scale",
    "write_clip",
    "write_frames",
    "write_whole",
]
