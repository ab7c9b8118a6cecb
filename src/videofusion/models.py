"""Models by name: what ships with the package, and `load`, which takes a name or a folder.

A model is a diffusers pipeline folder (`model_index.json`, and per part a `config.json` and safetensors). To ship one,
put its folder under `models_shipped` and add a line to `SHIPPED`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videofusion.errors import InputError, require, unknown

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline

FOLDER = Path(__file__).parent / "models_shipped"
PRECISIONS = ("float32", "bfloat16")  # the recipes' names


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A model that is in the package.

    Args:
        name: what `load` and `--model` take.
        summary: what it makes, in a sentence.
        example: a prompt it understands.
    """

    name: str
    summary: str
    example: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def megabytes(self) -> float:
        """Size of its weights."""
        return sum(file.stat().st_size for file in self.folder.rglob("*.safetensors")) / 1e6

    @property
    def shape(self) -> str:
        """What it makes by default, as in "16 frames of 32x32"."""
        index = _read_json(self.folder / "model_index.json")
        return f"{index['frames']} frames of {index['width']}x{index['height']}"

    @property
    def words(self) -> list[str]:
        """The words it knows, sorted."""
        known: set[str] = set()
        for config in self.folder.glob("*/config.json"):
            known.update(_read_json(config).get("words", ()))
        return sorted(known)


SHIPPED = {
    model.name: model
    for model in (
        ShippedModel(
            name="moving-digits",
            summary="VideoFusion, text to video: handwritten digits, coloured, moving in eight directions",
            example="a red three moving left",
        ),
    )
}


def load(
    name_or_path: str | Path,
    *,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    device: str | None = None,
    low_memory: bool = False,
    precision: str = "float32",
) -> VideoPipeline:
    """A pipeline, ready to be called with a prompt.

    Args:
        name_or_path: a name of `SHIPPED`, or a folder that `save_pretrained` or a training run wrote.
        lora: LoRA weights that are added to the model's: a file that training or diffusers wrote, or a folder with it.
        lora_scale: how much of them; 1 is as trained.
        device: "cpu", "cuda", ...; the first accelerator there is, when not given.
        low_memory: keep only the network in memory that is at work, and read each one's weights anew for every batch of
            clips; for models whose networks work one after the other (VideoFusion's variant "image-first").
        precision: that of the networks that see frames, one of `PRECISIONS`. In "bfloat16" they take half of the
            memory, and less time where the device computes in it; samplers go on in float32.

    Raises:
        InputError: there is no such model, device or precision, or the folder is not one this version can read; the
            LoRA weights are of another model; low_memory together with LoRA, or for a model whose networks work
            together.
    """
    check_precision(precision)
    folder = find(name_or_path)
    if lora is not None:
        if low_memory:
            raise InputError(f"lora is {lora} and low_memory is True, but adapters are added to weights in memory")
        from videofusion.networks.lora import apply_lora, find_lora

        lora = find_lora(lora)
    index = _read_json(folder / "model_index.json")

    import torch

    import videofusion
    from videofusion.device import pick_device
    from videofusion.networks.unet import UNet
    from videofusion.parts import WEIGHTS, Turns, check_names, describe, fill
    from videofusion.systems.pipeline import VideoPipeline
    from videofusion.training.checkpoints import refuse_pickles

    where = pick_device(device)
    kind = getattr(videofusion, str(index.get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, VideoPipeline)):
        raise InputError(f"model {folder} is a {index.get('_class_name')}, which is no pipeline of videofusion")
    _check_config(folder / "model_index.json", kind)
    # a part is a pair of names, its module and its class; other lists are settings
    pairs = {name: entry for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2}
    parts = {name: entry for name, entry in pairs.items() if all(isinstance(each, str) for each in entry)}
    if any(module == "transformers" for module, _ in parts.values()):
        require("transformers", extra="clip")
    for name, (module, class_name) in parts.items():
        refuse_pickles(folder / name)
        if module.startswith("videofusion."):
            _check_config(folder / name / "config.json", getattr(importlib.import_module(module), class_name))
    networks, turns = {}, Turns(where)
    for name, (module, class_name) in parts.items():
        if module != UNet.__module__ or class_name != UNet.__name__:
            continue
        networks[name] = describe(UNet, folder / name, getattr(torch, precision))
        if low_memory:
            turns.add(networks[name], folder / name)
        else:
            fill(networks[name], folder / name, where)
    if low_memory and (len(networks) < 2 or index.get("variant") != "image-first"):
        raise InputError(
            f"low_memory is True, but the networks of {folder} do not work one after the other; those of VideoFusion's "
            'variant "image-first" do'
        )
    try:
        pipe: VideoPipeline = kind.from_pretrained(folder, **networks, local_files_only=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {folder} cannot be loaded: {first}") from error
    for name, (module, _) in parts.items():
        part = getattr(pipe, name)
        if isinstance(part, torch.nn.Module) and name not in networks:
            if module != "transformers":  # whose files have names of their own
                check_names(folder / name / WEIGHTS, part)
            torch.nn.Module.to(part, where, torch.float32)  # transformers keeps the half precision of an exported file
    if lora is not None:
        apply_lora(pipe.components, Path(lora), lora_scale)
    return pipe


def check_precision(precision: str) -> None:
    """Raise InputError for one that `load` does not take."""
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")


def export(name_or_path: str | Path, out: Path, *, dtype: str = "float16") -> Path:
    """Write a model's folder to share it: the same pipeline, its weights in half precision.

    Args:
        name_or_path: as for `load`; or a run folder, for the model of its newest checkpoint; or the folder of any
            checkpoint in it, as RUN/checkpoints/step-00000100, for its averaged weights.
        out: the new folder, which must not exist; its parent is made.
        dtype: "float16", "bfloat16" or "float32" (no change).

    Returns:
        the new folder, written whole or not at all.

    Raises:
        InputError: no such model, an unknown dtype, or something at `out` already; a checkpoint of which no model can
            be made.
    """
    kinds = ("float16", "bfloat16", "float32")
    if dtype not in kinds:
        raise InputError(f"dtype is {dtype!r}, but must be one of {', '.join(kinds)}")
    if out.exists():
        raise InputError(f"out is {out}, which exists; name a folder that does not")
    path = Path(name_or_path)
    if (path / "state.json").is_file():
        from videofusion.training.export import checkpoint_pipeline

        pipe = checkpoint_pipeline(path)
    else:
        is_run = (path / "recipe.json").is_file() and (path / "model").is_dir()
        pipe = load(path / "model" if is_run else name_or_path, device="cpu")

    import torch

    from videofusion.training.checkpoints import write_folder

    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, getattr(torch, dtype))  # not diffusers' own, which warns of nothing

    def fill(folder: Path) -> None:
        pipe.save_pretrained(folder)
        for file in folder.rglob("*.json"):  # where it lay on this machine is nobody else's business
            values = _read_json(file)
            values.pop("_name_or_path", None)
            file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    write_folder(out, fill)
    return out


def find(name_or_path: str | Path) -> Path:
    """The folder of a model.

    Raises:
        InputError: there is none; the sentence lists the names there are, or says what the path is instead.
    """
    if str(name_or_path) in SHIPPED:
        folder = SHIPPED[str(name_or_path)].folder
        if not folder.is_dir():
            raise InputError(f'model "{name_or_path}" is missing from this installation: there is no {folder}')
        return folder
    path = Path(name_or_path)
    if path.is_file():
        from videofusion.training.checkpoints import refuse_pickles

        refuse_pickles(path)
        raise InputError(f"model {path} is a file; a model is a folder with a model_index.json")
    if not path.is_dir():
        raise unknown("model", str(name_or_path), SHIPPED, ", or the path of a model's folder")
    if not (path / "model_index.json").is_file():
        inner = path / "model"
        hint = f"; did you mean {inner}?" if (inner / "model_index.json").is_file() else ""
        raise InputError(f"model {path} is a folder without a model_index.json{hint}")
    return path


def digest(folder: Path) -> str:
    """A short name for what a model's folder holds: equal for equal weights and settings, wherever they lie."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")):
        total.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} ".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} cannot be read: it holds no json object")
    return values


def _check_config(path: Path, kind: type) -> None:
    """Refuse a configuration key that the part does not have; diffusers would only drop it."""
    known = set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    unknown = sorted(key for key in _read_json(path) if not key.startswith("_") and key not in known)
    if unknown:
        raise InputError(
            f"{path} has the unknown key {unknown[0]!r}; {kind.__name__} has {', '.join(sorted(known - {'self'}))}"
        )
