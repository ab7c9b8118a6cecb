"""What tells two networks apart."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import torch
from torch import nn

# Of a configuration of transformers, what says where or by what it was written.
_IDLE = ("architectures", "dtype", "torch_dtype", "transformers_version")


def fingerprint(module: nn.Module) -> str:
    """What a network computes, as 16 letters: equal for equal weights and settings, wherever they lie.

    Settings that are their class's defaults are left out, so that one which a later version adds changes nothing.

    Args:
        module: with a `config` of diffusers or transformers.
    """
    text = json.dumps(_settings(module), sort_keys=True, default=str)
    total = hashlib.sha256(f"{type(module).__name__} {text}".encode())
    for name, value in sorted(module.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a configuration says beyond its class's defaults."""
    config: Any = getattr(module, "config", {})
    if hasattr(config, "to_diff_dict"):
        return {key: value for key, value in config.to_diff_dict().items() if key not in _IDLE}
    defaults = {name: each.default for name, each in inspect.signature(type(module).__init__).parameters.items()}
    told = {key: value for key, value in dict(config).items() if not key.startswith("_")}
    return {key: value for key, value in told.items() if key not in defaults or _plain(value) != _plain(defaults[key])}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # as a file has it
