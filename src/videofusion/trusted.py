"""What a model folder may contain: parts from a table, numbers within bounds, and no programs.

Everything is checked before anything that the folder names is imported.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json
from videofusion.registry import others_parts

# By the name of a part in a pipeline: the modules and classes that it may be. Nothing else is imported.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    **dict.fromkeys(
        ("unet", "base"),
        (("videofusion.networks.unet", "UNet"), ("videofusion.networks.image_transformer", "ImageTransformer")),
    ),
    "residual": (("videofusion.networks.unet", "UNet"),),
    "text_encoder": (
        ("videofusion.conditioning.text", "WordEncoder"),
        ("transformers", "CLIPTextModel"),
        ("transformers", "T5EncoderModel"),
        ("transformers", "CLIPTextModelWithProjection"),
        ("transformers", "Gemma2Model"),
    ),
    "tokenizer": tuple(
        ("transformers", f"{name}{end}")
        for name, ends in (("CLIPTokenizer", 2), ("T5Tokenizer", 2), ("GemmaTokenizer", 2), ("TokenizersBackend", 1))
        for end in ("", "Fast")[:ends]
    ),
    "vae": (
        ("videofusion.networks.tiny_autoencoder", "TinyAutoencoder"),
        ("diffusers", "AutoencoderKL"),
        ("diffusers", "AutoencoderTiny"),
        ("diffusers", "AutoencoderDC"),
        ("diffusers", "AutoencoderKLTemporalDecoder"),
    ),
    "image_encoder": (
        ("videofusion.conditioning.image", "FrameEncoder"),
        ("transformers", "CLIPVisionModelWithProjection"),
    ),
    "prior": tuple(("videofusion.networks.prior", name) for name in ("Prior", "TransformerPrior")),
    "prior_text_encoder": (("transformers", "CLIPTextModelWithProjection"),),
}
PARTS["prior_tokenizer"] = PARTS["tokenizer_2"] = PARTS["tokenizer_3"] = PARTS["tokenizer"]
PARTS["text_encoder_3"] = (("transformers", "T5EncoderModel"),)
PARTS["text_encoder_2"] = (*PARTS["prior_text_encoder"], *PARTS["text_encoder_3"])

# Options for transformers wherever it reads a folder: fetch nothing, run nothing, ask nobody.
LOCAL = {"local_files_only": True, "trust_remote_code": False}

_WIDE = (1, 65_536)  # features of a layer
_DEEP = (1, 256)  # layers in a row
# By class, what the numbers of its configuration may be; those of a list each.
PIPELINE_BOUNDS = {
    **dict.fromkeys(("frames", "height", "width"), (1, 4096)),
    "context": (0, 4096),
    "together": (1, 4096),
    "fps": (0, 1000),
    "start": (0, 1e6),
    **dict.fromkeys(("guidance", "motion_guidance", "context_guidance", "first_guidance"), (0, 100)),
    **dict.fromkeys(("guidance_interval", "guidance_skip", "share", "profiles"), (0, 1)),
}
BOUNDS: dict[str, Mapping[str, tuple[float, float]]] = {
    "UNet": {
        **dict.fromkeys(("in_channels", "out_channels", "channels"), (1, 8192)),
        **dict.fromkeys(("text_size", "image_size", "added_size"), _WIDE),
        "blocks": (1, 8),
        "context": (0, 8192),
        "numbers": (0, 64),
        "block_eps": (1e-12, 1e-2),
        "heads": (1, 1024),
        "depth": (1, 64),
        "labels": (1, 1_000_000),
        "groups": (1, 512),
        "patch": (1, 16),
    },
    "ImageTransformer": {
        "factor": (1, 64),
        "tokens": (1, 4096),
        "guidance": (0, 100),
        "image_size": _WIDE,
    },
    "WordEncoder": {"size": _WIDE, "layers": _DEEP, "heads": (1, 1024), "max_words": (1, 4096)},
    "FrameEncoder": {"size": _WIDE, "in_channels": (1, 8192), "channels": (1, 8192), "grid": (1, 64)},
    "Prior": {"size": _WIDE, "text_size": _WIDE, "width": _WIDE, "depth": _DEEP},
    "TransformerPrior": {"text_size": _WIDE, "bound": (0, 1000)},
    "TinyAutoencoder": {"latent_channels": (1, 8192), "width": (1, 8192), "factor": (1, 64)},
}
_LISTS = ("channels", "heads", "depth", "guidance_interval", "profiles")  # what may be several numbers
_MOST_LEVELS = 16  # of a network
_MOST_ITEMS = 4096  # of a list of numbers
_MOST_FOREIGN = 2**24  # the largest number in the configuration of a part of diffusers or transformers
_MOST_LAYERS = 512  # the largest of those that count layers
_MOST_BYTES = 64 * 2**20  # of a configuration
_CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pth")
# What a config.json may tell transformers or diffusers to fetch, run or convert.
_RUNS = ("auto_map", "custom_pipelines", "quantization_config", "kernel_config")


def read_config(path: Path) -> dict[str, Any]:
    """The object in a json file of a model.

    Raises:
        InputError: it cannot be read, is no regular file, or holds something else.
    """
    try:
        check_regular(path, _MOST_BYTES)
        values = parse_json(path.read_bytes(), unique=True)
    except (OSError, ValueError) as error:
        what = f"it is not JSON: {error}" if isinstance(error, ValueError) else error.strerror or error
        raise InputError(f"{path} cannot be read: {what}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} cannot be read: it holds a {type(values).__name__}, and must hold an object")
    return values


def parts_of(folder: Path, index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Module and class of each part that a pipeline's index names; a part that it has not is left out.

    Args:
        folder: the model's, for messages.
        index: what its model_index.json holds.

    Raises:
        InputError: a part that neither `PARTS` nor an installed system's pipeline of that name has.
    """
    found = {}
    parts = dict(PARTS)
    for name, kinds in _parts_of_others(str(index.get("_class_name"))).items():
        parts[name] = (*parts.get(name, ()), *kinds)
    for name, entry in index.items():
        if name not in parts:
            if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str):
                raise InputError(f"model {folder} has the part {name!r}, which is not one of {', '.join(parts)}")
            continue
        if entry == [None, None]:
            continue
        allowed = {f"{module}.{kind}": (module, kind) for module, kind in parts[name]}
        said = ".".join(entry) if isinstance(entry, list) and all(isinstance(each, str) for each in entry) else entry
        if not (isinstance(entry, list) and len(entry) == 2 and tuple(map(str, entry)) in allowed.values()):
            raise InputError(f"model {folder} names {said} as its {name}; it must be one of {', '.join(allowed)}")
        found[name] = allowed[str(said)]
    return found


def _parts_of_others(class_name: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Modules and classes of the parts that the pipeline of another package's system has, where it has one.

    Its code is installed, or runs already, and is as trusted as this package's; a folder only names it.
    """
    found = {}
    for name, kind in others_parts(class_name).items():
        kinds = [each for each in (typing.get_args(kind) or (kind,)) if isinstance(each, type)]
        own = [each for each in kinds if each.__module__.split(".")[0] not in ("builtins", "torch", "typing")]
        if own:
            found[name] = tuple((each.__module__, each.__name__) for each in own)
    return found


def refuse_code(folder: Path) -> None:
    """Raise InputError for a folder with a program in it: no part needs one, and libraries look for them."""
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in _CODE:
            raise InputError(f"{file} is a program; a model folder may hold numbers only")


def check_own(path: Path, kind: type) -> dict[str, Any]:
    """The configuration of a part of ours, checked.

    Args:
        path: its config.json, or the model_index.json of a pipeline.
        kind: the class.

    Raises:
        InputError: a key that the class does not have, which diffusers would only drop; a value of another kind than
            its default, or out of bounds.
    """
    values = read_config(path)
    known = dict(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    for key in sorted(values):
        if not key.startswith("_") and key not in known:
            known.pop("self")
            raise InputError(f"{path} has the unknown key {key!r}; {kind.__name__} has {', '.join(sorted(known))}")
    check_values(path, kind.__name__, values)
    words = values.get("words", [])
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise InputError(f"{path}: words is {_short(words)}, but must be a list of texts")
    for key, value in values.items():
        default = None if key.startswith("_") else known[key].default
        if isinstance(value, dict):  # the configuration of a part of diffusers within
            _check_foreign(path, value)
        if value is None and "None" in str(known[key].annotation):
            continue
        kinds = (int, float) if isinstance(default, float) else type(default)
        if not isinstance(default, bool | int | float | str) or (key in _LISTS and isinstance(value, list)):
            continue
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
            raise InputError(f"{path}: {key} is {_short(value)}, but must be like {default!r}")
    return values


def check_values(path: Path, class_name: str, values: Mapping[str, Any]) -> None:
    """Raise InputError for a number of a configuration that is out of the bounds of its class."""
    usual = PIPELINE_BOUNDS if class_name.endswith("Pipeline") else {}
    for key, bounds in BOUNDS.get(class_name, usual).items():
        if values.get(key) is not None:
            _check_numbers(path, key, values[key], *bounds)


def check_foreign(path: Path) -> dict[str, Any]:
    """The configuration of a part of diffusers or transformers, checked for what no model needs.

    Raises:
        InputError: it tells of code, or of numbers that no model has; an adapter lies beside it.
    """
    adapter = path.with_name("adapter_config.json")
    if adapter.exists():
        raise InputError(f"{adapter} names another model, which transformers would load; merge the adapter into it")
    values = read_config(path)
    _check_foreign(path, values)
    return values


def _check_foreign(path: Path, values: Any, key: str = "") -> None:
    if isinstance(values, dict):
        for name, value in values.items():
            named = name.endswith("_implementation") and "/" in str(value)  # a kernel from the Hub
            if (name in _RUNS and value) or named:
                raise InputError(f"{path} has the key {name!r}, which makes a library run or fetch code; remove it")
            _check_foreign(path, value, name)
    elif isinstance(values, list):
        for value in values:
            _check_foreign(path, value, key)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        most = _MOST_LAYERS if "layers" in key or "depth" in key else _MOST_FOREIGN
        if isinstance(values, int) and abs(values) > most:
            raise InputError(f"{path}: {key} is {_short(values)}, but at most {most:,} can be read")


def _check_numbers(path: Path, key: str, value: Any, low: float, high: float) -> None:
    items = value if isinstance(value, list) else [value]
    nested = [each for item in items for each in (item if isinstance(item, list) else [item])]
    if (isinstance(value, list) and key not in _LISTS) or (items != nested and key != "profiles"):
        raise InputError(f"{path}: {key} is {_short(value)}, but must be a number in [{low:,g}, {high:,g}]")
    most = _MOST_LEVELS if key in ("channels", "heads", "depth") else _MOST_ITEMS
    if len(items) > most or len(nested) > most:
        raise InputError(f"{path}: {key} has {max(len(items), len(nested)):,} entries, at most {most:,} are read")
    for each in nested:
        number = isinstance(each, int | float) and not isinstance(each, bool)
        if not (number and low <= each <= high):
            raise InputError(f"{path}: {key} is {_short(value)}, but must be in [{low:,g}, {high:,g}]")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
