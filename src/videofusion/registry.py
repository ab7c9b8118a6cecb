"""The systems by name: those of the package, those that installed packages bring, and those that a program registers.

A package brings one by an entry point of the group `videofusion.systems`, whose name recipes use:

    [project.entry-points."videofusion.systems"]
    flicker = "my_package.flicker:Flicker"

Its class has what `systems.interface.SystemClass` lists. It is imported when a recipe or a model names it; one that
cannot be imported costs a warning, and nothing else.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from videofusion.errors import InputError, printable, unknown

GROUP = "videofusion.systems"
# Where the package's own are, and their pipelines: found without an import, since systems need torch.
BUILT_IN: Mapping[str, tuple[str, str, str]] = {
    "videofusion": ("videofusion.systems.videofusion", "VideoFusionSystem", "VideoFusionPipeline"),
    "vdm": ("videofusion.systems.vdm", "VDMSystem", "VDMPipeline"),
    "magicvideo": ("videofusion.systems.magicvideo", "MagicVideoSystem", "MagicVideoPipeline"),
    "make-a-video": ("videofusion.systems.make_a_video", "MakeAVideoSystem", "MakeAVideoPipeline"),
    "video-ldm": ("videofusion.systems.video_ldm", "VideoLDM", "VideoLDMPipeline"),
    "svd": ("videofusion.systems.svd", "StableVideoDiffusion", "StableVideoPipeline"),
    "tune-a-video": ("videofusion.systems.tune_a_video", "TuneAVideo", "TuneAVideoPipeline"),
}
# Systems that are never trained: pipelines on an image model of others, by the name that `load` takes.
TRAINING_FREE: Mapping[str, tuple[str, str]] = {
    "text2video-zero": ("videofusion.systems.text2video_zero", "Text2VideoZeroPipeline"),
    "shared-noise": ("videofusion.systems.shared_noise", "SharedNoisePipeline"),
    "controlvideo": ("videofusion.systems.controlvideo", "ControlVideoPipeline"),
}
# Pipelines that others' video models are read into, by the class of their U-Net in diffusers.
VIDEO_MODELS: Mapping[str, tuple[str, str]] = {
    "UNetSpatioTemporalConditionModel": ("videofusion.systems.svd", "StableVideoPipeline"),
    "UNet3DConditionModel": ("videofusion.systems.modelscope", "ModelScopePipeline"),
}
_registered: dict[str, type[Any]] = {}


def register_system(name: str, system: type[Any]) -> type[Any]:
    """Let recipes name a system, and `load` read its models, for as long as this process runs.

    Args:
        name: in recipes; also that of its `Config`.
        system: the class.

    Raises:
        InputError: a system of the package has that name; the class lacks something.
    """
    if name in BUILT_IN:
        raise InputError(f"system {name!r} is one of the package's own; take another name")
    _check(name, system)
    _registered[name] = system
    return system


def system_names() -> list[str]:
    """The systems that a recipe may name."""
    return [*BUILT_IN, *(name for name in {**_installed(), **_registered} if name not in BUILT_IN)]


def usable_systems() -> list[str]:
    """Those of them whose class can be imported; a warning names each other one."""
    return [*BUILT_IN, *_registered, *(name for name in _installed() if name not in _registered and _load(name))]


def knows(table: Mapping[str, Any], name: str) -> bool:
    """Whether a table has a name, of the package or added; for one that it lacks, installed packages are imported.

    Args:
        table: that packages may add to, as `SAMPLERS`.
        name: from a recipe, a model or a command.
    """
    if name not in table:
        usable_systems()
    return name in table


def get_system(name: str) -> type[Any]:
    """The class of a system.

    Raises:
        InputError: no system has that name, or the package that brings it cannot be imported.
    """
    if name in BUILT_IN:
        module, kind, _ = BUILT_IN[name]
        found: type[Any] = getattr(importlib.import_module(module), kind)
        return found
    if name in _registered:
        return _registered[name]
    if name in _installed():
        system = _load(name)
        if system is None:
            raise InputError(f"system {name!r} of {_said(_installed()[name])} cannot be used, as a warning says")
        return system
    raise unknown("system", name, system_names())


def find_pipeline(class_name: str) -> type | None:
    """The pipeline of that name of any system; None where none has it.

    Args:
        class_name: as a model_index.json has it; nothing is imported by it.
    """
    for module, pipeline in _own_pipelines():
        if pipeline == class_name:
            found: type = getattr(importlib.import_module(module), pipeline)
            return found
    others = [*_registered.values(), *filter(None, map(_load, _installed()))]
    return next((system.Pipeline for system in others if system.Pipeline.__name__ == class_name), None)


def others_parts(class_name: str) -> Mapping[str, Any]:
    """The parts of another package's pipeline by name, with their types; none of the package's own, or of no system's.

    Args:
        class_name: as a model_index.json has it.
    """
    if any(class_name == pipeline for _, pipeline in _own_pipelines()):
        return {}
    return getattr(find_pipeline(class_name), "PARTS", {})


def training_free(name: str) -> type[Any]:
    """The pipeline of a system that is never trained.

    Raises:
        InputError: no such system has that name.
    """
    if name not in TRAINING_FREE:
        raise unknown("system without training", name, TRAINING_FREE)
    module, pipeline = TRAINING_FREE[name]
    found: type[Any] = getattr(importlib.import_module(module), pipeline)
    return found


def video_model(unet: str) -> type[Any]:
    """The pipeline that others' video models with a U-Net of that class, a key of `VIDEO_MODELS`, are read into."""
    module, pipeline = VIDEO_MODELS[unet]
    found: type[Any] = getattr(importlib.import_module(module), pipeline)
    return found


def _own_pipelines() -> list[tuple[str, str]]:
    """Modules and names of the package's own pipelines."""
    trained = ((module, pipeline) for module, _, pipeline in BUILT_IN.values())
    return [*trained, *TRAINING_FREE.values(), *VIDEO_MODELS.values()]


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    """The entry points of installed packages; the first of a name counts."""
    found: dict[str, EntryPoint] = {}
    for each in entry_points(group=GROUP):
        found.setdefault(each.name, each)
    return {name: each for name, each in found.items() if name not in BUILT_IN}


@functools.cache
def _load(name: str) -> type[Any] | None:
    """The class of an entry point; None after a warning in one line where it cannot be had."""
    entry = _installed()[name]
    try:
        system: Any = entry.load()
        _check(name, system)
    except Exception as error:  # a stranger's module may raise anything
        first = (str(error).strip().splitlines() or [""])[0]
        message = f"system {name!r} of {_said(entry)} cannot be imported: {type(error).__name__}: {first}"
        warnings.warn(printable(message, line=True), UserWarning, stacklevel=2)
        return None
    return system


def _said(entry: EntryPoint) -> str:
    return entry.value if entry.dist is None else f"{entry.value} ({entry.dist.name})"


def _check(name: str, system: Any) -> None:
    """Raise InputError unless a class has what a system needs."""
    lacking = [each for each in ("Config", "Pipeline", "build", "loss", "pipeline") if not hasattr(system, each)]
    if lacking:
        raise InputError(f"system {name!r} is {system!r:.60}, which lacks {', '.join(lacking)}")
    if system.Config.name != name:
        raise InputError(f"system {name!r} has a Config of the name {system.Config.name!r}; it must be the same")
