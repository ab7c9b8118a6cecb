"""Video diffusion with decomposed noise.

    import videofusion as vf

    pipe = vf.load("moving-digits")
    clip = pipe("a red three moving left", seed=0)  # t c h w, in [-1, 1]
    vf.write_clip(clip, "three.mp4")

    vf.train(vf.get_recipe("folder64"), Path("runs/mine"), Path("clips/"))
    vf.evaluate("generated/", "clips/")  # a record of distances, with their intervals

The names below are imported when they are first asked for, so that `import videofusion`
(and with it `videofusion --help`) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from videofusion.interop.registration import register_pipelines
from videofusion.registry import find_pipeline
from videofusion.version import __version__ as __version__

if TYPE_CHECKING:
    from videofusion.clip import contact_sheet as contact_sheet
    from videofusion.clip import read_clip as read_clip
    from videofusion.clip import save_sheet as save_sheet
    from videofusion.clip import write_clip as write_clip
    from videofusion.conditioning.text import WordEncoder as WordEncoder
    from videofusion.diffusion.known import Known as Known
    from videofusion.errors import InputError as InputError
    from videofusion.errors import RunError as RunError
    from videofusion.evaluation.folders import evaluate as evaluate
    from videofusion.models import load as load
    from videofusion.networks.unet import UNet as UNet
    from videofusion.recipes.catalogue import get_recipe as get_recipe
    from videofusion.recipes.recipe import Recipe as Recipe
    from videofusion.registry import register_system as register_system
    from videofusion.systems.pipeline import VideoPipeline as VideoPipeline
    from videofusion.systems.vdm import VDMPipeline as VDMPipeline
    from videofusion.systems.videofusion_pipeline import VideoFusionPipeline as VideoFusionPipeline
    from videofusion.tasks.edit import edit as edit
    from videofusion.tasks.extend import extend as extend
    from videofusion.tasks.extend import generate as generate
    from videofusion.training.trainer import train as train

_HOME = {
    "InputError": "videofusion.errors",
    "Known": "videofusion.diffusion.known",
    "Recipe": "videofusion.recipes.recipe",
    "RunError": "videofusion.errors",
    "UNet": "videofusion.networks.unet",
    "VDMPipeline": "videofusion.systems.vdm",
    "VideoFusionPipeline": "videofusion.systems.videofusion_pipeline",
    "VideoPipeline": "videofusion.systems.pipeline",
    "WordEncoder": "videofusion.conditioning.text",
    "contact_sheet": "videofusion.clip",
    "edit": "videofusion.tasks",
    "evaluate": "videofusion.evaluation.folders",
    "extend": "videofusion.tasks",
    "generate": "videofusion.tasks",
    "get_recipe": "videofusion.recipes.catalogue",
    "load": "videofusion.models",
    "read_clip": "videofusion.clip",
    "register_system": "videofusion.registry",
    "save_sheet": "videofusion.clip",
    "train": "videofusion.training.trainer",
    "write_clip": "videofusion.clip",
}

__all__ = sorted([*_HOME, "__version__"])

register_pipelines(find_pipeline)


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
