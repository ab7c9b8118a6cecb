"""Video diffusion with decomposed noise.

    import videofusion as vf

    pipe = vf.load("moving-digits")
    clip = pipe("a red three moving left", seed=0)  # t c h w, in [-1, 1]
    vf.write_clip(clip, "three.mp4")

The names below are imported when they are first asked for, so that `import videofusion`
(and with it `videofusion --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from videofusion.errors import InputError as InputError
    from videofusion.errors import RunError as RunError

_HOME = {
    "UNet": "videofusion.networks.unet",
    "VDMPipeline": "videofusion.systems.vdm",
    "VideoFusionPipeline": "videofusion.systems.videofusion",
    "WordEncoder": "videofusion.conditioning.text",
    "InputError": "videofusion.errors",
    "RunError": "videofusion.errors",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
