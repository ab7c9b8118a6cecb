"""`diffusers.DiffusionPipeline.from_pretrained` finds our pipelines once `videofusion` is imported.

diffusers looks a pipeline's class up by name among its own. So ours are put there: at once where diffusers is imported
already, else when it is, for `import videofusion` waits for neither diffusers nor torch. The classes themselves are
imported when they are asked for.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_THEIRS = "diffusers"


def register_pipelines(homes: Mapping[str, str]) -> None:
    """Have diffusers know pipelines of ours.

    Args:
        homes: names of their classes to the modules that they are in.
    """
    if _THEIRS in sys.modules:
        _add(homes)
    else:
        sys.meta_path.insert(0, _Waiting(homes))


def _add(homes: Mapping[str, str]) -> None:
    module = sys.modules[_THEIRS]
    own: dict[str, Any] = {name: property(partial(_found, home, name)) for name, home in homes.items()}
    module.__class__ = type(module.__class__.__name__, (module.__class__,), own)


def _found(home: str, name: str, _: ModuleType) -> Any:
    return getattr(importlib.import_module(home), name)


class _Waiting(importlib.abc.MetaPathFinder):
    """Registers them as soon as diffusers is imported, and has no further say in what is."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _THEIRS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute, homes = spec.loader.exec_module, self.homes

            def then_add(module: ModuleType) -> None:
                execute(module)
                _add(homes)

            spec.loader.exec_module = then_add  # type: ignore[method-assign]
        return spec
