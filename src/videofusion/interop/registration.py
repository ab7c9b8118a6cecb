"""`diffusers.DiffusionPipeline.from_pretrained` finds our pipelines once `videofusion` is imported.

diffusers looks a pipeline's class up by name among its own. So what it does not have is looked for here too: at once
where diffusers is imported already, else when it is, for `import videofusion` waits for neither diffusers nor torch.
The classes themselves, and the packages that bring some, are imported when they are asked for.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_THEIRS = "diffusers"
Find = Callable[[str], type | None]


def register_pipelines(find: Find) -> None:
    """Have diffusers know pipelines of ours.

    Args:
        find: from the name of a class that ends with "Pipeline" to the class, or None.
    """
    if _THEIRS in sys.modules:
        _add(find)
    else:
        sys.meta_path.insert(0, _Waiting(find))


def _add(find: Find) -> None:
    module = sys.modules[_THEIRS]
    theirs: Any = module.__class__

    def get(self: ModuleType, name: str) -> Any:
        try:
            return theirs.__getattr__(self, name)
        except AttributeError:
            found = find(name) if name.endswith("Pipeline") else None
            if found is None:
                raise
            return found

    module.__class__ = type(theirs.__name__, (theirs,), {"__getattr__": get})


class _Waiting(importlib.abc.MetaPathFinder):
    """Registers them as soon as diffusers is imported, and has no further say in what is."""

    def __init__(self, find: Find) -> None:
        self.find = find

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _THEIRS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute, find = spec.loader.exec_module, self.find

            def then_add(module: ModuleType) -> None:
                execute(module)
                _add(find)

            spec.loader.exec_module = then_add  # type: ignore[method-assign]
        return spec
