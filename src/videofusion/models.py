"""Models by name: what ships with the package, and `load`, which takes a name or a folder.

A model is a diffusers pipeline folder (`model_index.json`, and per part a `config.json` and safetensors): one of ours,
a video model of others, or an image model of others, which a system without training makes clips with. To ship one, put
its folder under `models_shipped` and add a line to `SHIPPED`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videofusion.errors import InputError, printable, unknown
from videofusion.recipes.catalogue import RECIPES
from videofusion.registry import TRAINING_FREE, VIDEO_MODELS, find_pipeline, training_free, video_model
from videofusion.trusted import check_own, parts_of, read_config, refuse_code

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline

FOLDER = Path(__file__).parent / "models_shipped"
PRECISIONS = ("float32", "bfloat16", "float16")  # the recipes' names, and one for sampling


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
        index = read_config(self.folder / "model_index.json")
        return f"{index['frames']} frames of {index['width']}x{index['height']}"

    @property
    def words(self) -> list[str]:
        """The words it knows, sorted."""
        known: set[str] = set()
        for config in self.folder.glob("*/config.json"):
            known.update(read_config(config).get("words", ()))
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
    system: str | None = None,
    controlnet: str | Path | Sequence[str | Path] = (),
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    device: str | None = None,
    low_memory: bool = False,
    precision: str = "float32",
) -> VideoPipeline:
    """A pipeline, ready to be called with a prompt.

    Args:
        name_or_path: a name of `SHIPPED`, or a folder that `save_pretrained` wrote, or that of a training run; or a
            model of diffusers, of images (Stable Diffusion) or of videos (ModelScope's text-to-video), a folder or a
            name "owner/model" on the Hugging Face Hub; or a Stable Diffusion in one file of safetensors.
        system: what makes clips with an image model, a key of `TRAINING_FREE`; "text2video-zero" by default, and
            "shared-noise" for transformers, as is said on stderr.
        controlnet: folders of ControlNets for such a system.
        lora: LoRA weights that are added to the model's: a file that training or diffusers wrote, or a folder with it.
        lora_scale: how much of them; 1 is as trained.
        device: "cpu", "cuda", ...; the first accelerator there is, when not given.
        low_memory: keep only the network at work in memory, and read each one's weights again for every batch of
            clips; for models whose networks work one after the other (VideoFusion's variant "image-first").
        precision: that of the networks that see frames, one of `PRECISIONS`. In "bfloat16" and "float16" they take
            half of the memory, and less time where the device computes in it; samplers stay in float32.

    Raises:
        InputError: there is no such model, device or precision, or the folder is not one this version can read; the
            LoRA weights are of another model; low_memory together with LoRA, or for a model whose networks work
            together.
    """
    check_precision(precision)
    from videofusion.interop.diffusers_folder import UNETS, network_kind

    folder = find(name_or_path)
    nets = [controlnet] if isinstance(controlnet, str | Path) else list(controlnet)
    if system is not None and system not in TRAINING_FREE:
        raise unknown("system without training", system, TRAINING_FREE)
    if lora is not None:
        if low_memory:
            raise InputError(f"lora is {lora} and low_memory is True, but adapters are added to weights in memory")
        from videofusion.interop.lora_files import find_lora

        lora = find_lora(lora)
    others = network_kind(folder)
    if others is not None:
        what = "a video model" if others in VIDEO_MODELS else "an image model"
        if low_memory:
            raise InputError(
                f"low_memory is True, but {folder} is {what}, whose network is at work all the time; precision "
                '"bfloat16" halves its memory, and on a GPU enable_model_cpu_offload() keeps there what works only'
            )
        if others in VIDEO_MODELS and (system is not None or nets):
            given = f"system is {system!r}" if system is not None else f"controlnet is {nets[0]}"
            raise InputError(f"{given}, but {folder} is a video model ({others}), which takes none")
        return _finished(_of_others(folder, others, system, device, precision), nets, lora, lora_scale)
    # all names are looked at before anything is imported by them
    refuse_code(folder)
    index = read_config(folder / "model_index.json")
    parts = parts_of(folder, index)

    import torch

    from videofusion.device import pick_device
    from videofusion.files import refuse_pickles
    from videofusion.networks.image_transformer import ImageTransformer
    from videofusion.networks.unet import UNet
    from videofusion.parts import Turns, describe, fill, open_part
    from videofusion.systems.pipeline import VideoPipeline

    where = pick_device(device)
    if "_class_name" not in index:
        raise InputError(f"{folder / 'model_index.json'} has no _class_name, which says what kind of model it is of")
    kind = find_pipeline(str(index["_class_name"]))
    if not (isinstance(kind, type) and issubclass(kind, VideoPipeline)):
        raise InputError(
            f"model {folder} is a {index.get('_class_name')}, which is neither a pipeline of videofusion, nor of a "
            f"system that an installed package brings, nor a model with a transformer, a {' or a '.join(UNETS)}"
        )
    own = next((name for name, (_, class_name) in TRAINING_FREE.items() if class_name == kind.__name__), None)
    if system not in (None, own):
        raise InputError(f"system is {system!r}, but {folder} is a {kind.__name__}, which has a system of its own")
    if nets and own is None:
        raise InputError(f"controlnet is {nets[0]}, but {folder} is a {kind.__name__}, which takes none")
    check_own(folder / "model_index.json", kind)
    refuse_pickles(folder)
    components: dict[str, Any] = {}
    turns = Turns(where)
    kinds: dict[str, type[UNet] | type[ImageTransformer]] = {each.__name__: each for each in (UNet, ImageTransformer)}
    networks = {name: kinds[class_name] for name, (_, class_name) in parts.items() if class_name in kinds}
    for name, network in networks.items():
        components[name] = describe(network, folder / name, getattr(torch, precision))
        if low_memory:
            turns.add(components[name], folder / name)
        else:
            fill(components[name], folder / name, where)
    if low_memory and not kind.networks_take_turns(index):
        raise InputError(
            f"low_memory is True, but the networks of {folder} do not work one after the other; those of VideoFusion's "
            'variant "image-first" do'
        )
    for name, (module, class_name) in parts.items():
        if name not in components:
            components[name] = open_part(module, class_name, folder / name, where)
    settings = {key: value for key, value in index.items() if not key.startswith("_") and key not in kind.PARTS}
    try:
        pipe = kind(**components, **settings)
    except (ValueError, TypeError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {folder} cannot be loaded: {first}") from error
    return _finished(pipe, nets, lora, lora_scale)


def _of_others(folder: Path, unet: str, system: str | None, device: str | None, precision: str) -> VideoPipeline:
    """A video model of others as it is, or a system without training on an image model."""
    import torch

    from videofusion.device import pick_device
    from videofusion.interop.diffusers_folder import has_transformer

    where = pick_device(device), getattr(torch, precision)
    pipe: VideoPipeline
    if unet in VIDEO_MODELS:
        pipe = video_model(unet).from_diffusers(folder, *where)
        return pipe
    if system is None:
        transformer = has_transformer(read_config(folder / "model_index.json"))  # which other systems do not take
        system = "shared-noise" if transformer else next(iter(TRAINING_FREE))
        more = ", ".join(name for name in TRAINING_FREE if name != system)
        others = "" if transformer else f" (other systems: {more})"
        print(
            printable(f'{folder.name} is an image model; clips are made by "{system}"{others}', line=True),
            file=sys.stderr,
        )
    pipe = training_free(system).from_image_model(folder, *where)
    return pipe


def _finished(
    pipe: VideoPipeline, controlnets: Sequence[str | Path], lora: str | Path | None, lora_scale: float
) -> VideoPipeline:
    """A pipeline with ControlNets, if it takes some, and adapters."""
    if controlnets:
        pipe.add_controls(controlnets)
    if lora is not None:
        from videofusion.interop.lora_files import apply_lora

        apply_lora(pipe.components, Path(lora), lora_scale)
    return pipe


def check_precision(precision: str) -> None:
    """Raise InputError for one that `load` does not take."""
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")


def find(name_or_path: str | Path) -> Path:
    """The folder of a model; that in a run's folder, for this one; of a name on the Hugging Face Hub, where it lies.

    Raises:
        InputError: there is none; the sentence lists the names there are, or says what the path is instead.
    """
    if str(name_or_path) in SHIPPED:
        folder = SHIPPED[str(name_or_path)].folder
        if not folder.is_dir():
            raise InputError(f'model "{name_or_path}" is missing from this installation: there is no {folder}')
        return folder
    path = Path(name_or_path).expanduser()
    if path.is_file():
        from videofusion.files import refuse_pickles
        from videofusion.interop.unpacked import unpacked

        refuse_pickles(path)
        if path.suffix != ".safetensors":
            raise InputError(
                f"model {path} is a file; a model is a folder with a model_index.json, or a file of safetensors"
            )
        return unpacked(path)
    if not path.is_dir():
        from videofusion.interop.snapshots import find_model, is_name

        if is_name(name_or_path):
            return find_model(name_or_path)
        raise unknown("model", str(name_or_path), SHIPPED, ", or the path of a model's folder")
    if (path / "model_index.json").is_file():
        return path
    inner = path / "model"
    if (inner / "model_index.json").is_file():
        return inner
    if (path / "recipe.json").is_file():
        raise InputError(f"model {path} is the folder of a run that has written no model yet")
    raise InputError(f"model {path} is a folder without a model_index.json")


def trained_model(name: str) -> Path | None:
    """The folder of a model, where a name is no recipe's; None for a recipe's.

    Args:
        name: of a recipe, the path of a json file, or what `load` takes.

    Raises:
        InputError: it is neither.
    """
    if name in RECIPES or name.endswith(".json"):
        return None
    try:
        return find(name)
    except InputError as error:
        raise InputError(
            f'"{name}" is neither a recipe ({", ".join(RECIPES)}, or the path of a recipe.json) nor a model: {error}'
        ) from error


def digest(path: Path) -> str:
    """A short name for what a model's folder, or a file, holds: equal for equal weights and settings, wherever it lies.

    Raises:
        InputError: there is nothing there.
    """
    if not path.exists():
        raise InputError(f"{path} is not there")
    total = hashlib.blake2b(digest_size=8)
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for each in files:
        if each.suffix in (".json", ".safetensors"):
            name = "" if each == path else each.relative_to(path).as_posix()
            total.update(f"{name} {each.stat().st_size} ".encode())
            with each.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def digest_of(model: str | Path, options: Mapping[str, Any]) -> str:
    """A name for all that decides what a loaded model makes of a request: the model's digest, and what is not as usual.

    Args:
        model: as `load` takes it.
        options: of `load`, by name.

    Raises:
        InputError: there is no such model, ControlNet or LoRA file.
    """
    parts = [digest(find(model))]
    if options.get("precision", "float32") != "float32":
        parts.append(f"in {options['precision']}")
    if options.get("system") is not None:
        parts.append(f"by {options['system']}")
    parts += [f"with {digest(Path(net))}" for net in options.get("controlnet", ())]
    if options.get("lora") is not None:
        from videofusion.interop.lora_files import find_lora

        parts.append(f"with {options.get('lora_scale', 1.0):g} of {digest(find_lora(options['lora']))}")
    return " ".join(parts)
