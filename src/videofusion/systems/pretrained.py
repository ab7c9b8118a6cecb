"""Weights that a system starts from: a run's, an image model's, or a pretrained one's of diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from videofusion.conditioning.prompt import Encoder
from videofusion.conditioning.text import WordEncoder
from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import read_folder
from videofusion.interop.diffusers_schedule import schedule_from_diffusers
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.image_transformers import load_transformer
from videofusion.interop.video_unets import KIND, network_config, network_from_diffusers
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.inflation import widened
from videofusion.networks.layers import Embedding
from videofusion.networks.unet import UNet, is_temporal
from videofusion.parts import WEIGHTS, read_tensors
from videofusion.recipes.own_base import model_folder
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System

# parts of a U-Net that may be new in it, with the option that has them
_HEARD = {"fps_embedding.": "fps", "number_embedding.": "numbers"}
_THEIRS = ("UNet2DConditionModel", "UNet2DModel", KIND)


def is_diffusers(folder: str | Path | None) -> bool:
    """Whether a folder is a pipeline of diffusers with an image U-Net or transformer, or a video U-Net built as one."""
    config = Path(folder or "").expanduser() / "unet" / "config.json"
    own = folder is not None and config.is_file() and read_json(config).get("_class_name") in _THEIRS
    return own or has_transformer(folder)


def is_xl(folder: str | Path) -> bool:
    """Whether a folder is a pipeline of Stable Diffusion XL, with two text encoders beside its U-Net."""
    folder = Path(folder).expanduser()
    return all((folder / part / "config.json").is_file() for part in ("unet", "text_encoder", "text_encoder_2"))


def has_transformer(folder: str | Path | None) -> bool:
    """Whether a folder is a pipeline of diffusers with a transformer."""
    return folder is not None and (Path(folder).expanduser() / "transformer" / "config.json").is_file()


def diffusers_base(
    recipe: Recipe, colours: int, image_size: int | None = None, temporal: str = "image"
) -> UNet | ImageTransformer | None:
    """The image model in a diffusers pipeline that `start.image_model` names; None where it names none.

    On torch's meta device its sizes only are read.

    Args:
        recipe: whose base generator it is to be, or which makes a video model of it.
        colours: channels of what the recipe's clips live in.
        image_size: of the middle frame's embedding, which it is then told: at first it does not listen.
        temporal: row of the network that it is for; the folder of a video model of that row will do too.

    Raises:
        InputError: it cannot be that of such a recipe; what to set is said.
    """
    if recipe.start.image_model is None or not is_diffusers(recipe.start.image_model):
        return None
    folder = Path(recipe.start.image_model).expanduser()
    if has_transformer(folder):
        return _transformer_base(recipe, folder, colours, image_size)
    network = network_config(read_json(folder / "unet" / "config.json"))
    own = network.get("temporal", "image")
    if own not in ("image", temporal):
        raise InputError(
            f"start.image_model {folder} has the layers over time of {own!r}, which a network of the row {temporal!r} "
            "would lose; start from an image model, or train the system 'vdm' on it with network.temporal=" + str(own)
        )
    _check_base(recipe, network, colours)
    schedule, prediction = schedule_from_diffusers(folder)
    # what is counted on the meta device has a schedule without numbers
    if torch.get_default_device().type == "meta":
        unet = UNet(**network)
    else:
        if recipe.diffusion.schedule != schedule or recipe.diffusion.prediction != prediction:
            raise _other_process(recipe, schedule, prediction)
        unet = network_from_diffusers(folder).train()
    if image_size is not None:
        unet.image_embedding = Embedding(image_size, 4 * unet.config.channels[0])
        unet.register_to_config(image_size=image_size)
        _listen_not_yet(unet.image_embedding)
    unet.gradient_checkpointing = recipe.compute.gradient_checkpointing
    return unet


def _transformer_base(recipe: Recipe, folder: Path, colours: int, image_size: int | None) -> ImageTransformer:
    """The transformer in a diffusers pipeline; see `diffusers_base`."""
    facts = read_folder(folder)
    of = facts.transformer
    assert of is not None  # as there is one
    if facts.channels != colours:
        raise InputError(
            f"start.image_model {folder} works in latents of {facts.channels} channels, the recipe in {colours}; set "
            f"network.autoencoder={folder}"
        )
    if recipe.text.size != of.text_size or recipe.text.encoder is None:
        raise InputError(
            f"start.image_model {folder} reads texts of pretrained encoders with embeddings of size {of.text_size}; "
            f"set text.encoder={folder} text.size={of.text_size}"
        )
    counted = torch.get_default_device().type == "meta"
    # any shift will do: it says which times are drawn, and the network is told sigma
    same = recipe.diffusion.schedule.partition(":")[0] == facts.schedule.partition(":")[0]
    if not counted and not (same and recipe.diffusion.prediction == facts.prediction):
        raise _other_process(recipe, facts.schedule, facts.prediction)
    network = load_transformer(folder, of, facts.factor, empty=counted).train()
    if image_size is not None:
        network.add_image_embedding(image_size)
    network.gradient_checkpointing = recipe.compute.gradient_checkpointing
    return network


def _other_process(recipe: Recipe, schedule: str, prediction: str) -> InputError:
    return InputError(
        f"start.image_model {recipe.start.image_model} predicts {prediction} by the schedule {schedule}, but the "
        f"recipe {recipe.diffusion.prediction} by {recipe.diffusion.schedule}; set diffusion.schedule={schedule} "
        f"diffusion.prediction={prediction}"
    )


def _listen_not_yet(embedding: Embedding) -> None:
    """A network that was never told a thing begins as it is, and learns to listen."""
    nn.init.zeros_(embedding.linear_2.weight)
    nn.init.zeros_(embedding.linear_2.bias)


def _check_base(recipe: Recipe, network: Mapping[str, object], colours: int) -> None:
    """Raise InputError unless a U-Net of diffusers suits a recipe."""
    folder, text = recipe.start.image_model, network.get("text_size")
    xl = "Stable Diffusion XL's sizes and second text"
    for key, what in (("added_size", xl), ("labels", "class numbers")):
        if network.get(key) and (key, recipe.system.name) != ("added_size", "videofusion"):
            raise InputError(f"start.image_model is {folder}, which has to be told {what}; a recipe has none")
    if (network["in_channels"], network["out_channels"]) != (colours, colours):
        what = "in pixels" if recipe.network.autoencoder is None else f"in latents of {colours} channels"
        raise InputError(
            f"start.image_model {folder} takes {network['in_channels']} channels and gives {network['out_channels']}, "
            f"but the recipe works {what}; set network.autoencoder={folder} if it has the autoencoder "
            "that it was trained with"
        )
    if text is not None and (recipe.text.encoder is None or text != recipe.text.size):
        raise InputError(
            f"start.image_model {folder} reads texts of a pretrained encoder with embeddings of size {text}; set "
            f"text.encoder={folder} text.size={text}"
        )


def start_from(residual: UNet, base: UNet) -> set[str]:
    """Start the residual generator's spatial layers from the base's; what it sees beside its frame weighs nothing.

    Returns:
        names "residual.NAME" of the weights that all come from there; what sees more than a frame is not among them.

    Raises:
        InputError: the two have other sizes.
    """
    narrow, own = base.spatial_state(), residual.spatial_state()
    weights = widened(narrow, own)
    wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise InputError(f"residual_from_base needs generators of the same channels; {wrong[0]} differs")
    residual.load_state_dict(weights, strict=False)
    wider = {"conv_in.weight"} if weights["conv_in.weight"].shape != narrow["conv_in.weight"].shape else set()
    return {f"residual.{name}" for name in own.keys() - wider}


def load_parts(system: System, folder: Path) -> set[str]:
    """Load every part of a trained system: a run folder or its model folder; returns what was, as "part.name"."""
    model = model_folder(folder)
    loaded: set[str] = set()
    # a base that is not trained
    fixed: dict[str, nn.Module] = {name: part for name, part in system.frozen.items() if isinstance(part, FrameNetwork)}
    drawn = {name for name in getattr(system, "new_parts", ()) if not (model / name).is_dir()}
    for name, module in (fixed | system.modules).items():
        if name in drawn:
            continue
        if not (model / name).is_dir():
            raise InputError(f"start.model is {folder}; it must be a run or model folder with a {name} in it")
        lacking = _new_layers(module, model / name)
        wanted = {key: value for key, value in module.state_dict().items() if key not in lacking}
        loaded |= {f"{name}.{key}" for key in _load(module, model / name, wanted, f"start.model {folder}")}
    return loaded


def _new_layers(module: nn.Module, part: Path) -> set[str]:
    """Weights that a file lacks and that begin as the identity: of temporal layers, of embeddings of rate and numbers.

    Raises:
        InputError: the file has trained layers that the module's design lacks.
    """
    if not isinstance(module, UNet):
        return set()
    config = read_json(part / "config.json")
    theirs = config.get("temporal")
    new = tuple(part for part, option in _HEARD.items() if not config.get(option))
    rates = {name for name in module.state_dict() if name.startswith(new)}
    if theirs == module.config.temporal:
        return rates
    own, found = (
        {name for name in each if is_temporal(name) and not name.startswith(tuple(_HEARD))}
        for each in (module.state_dict(), _weights(part))
    )
    if found - own:
        raise InputError(
            f"network.temporal is {module.config.temporal!r}, but start.model {part} has the layers of {theirs!r}, of "
            f"which {len(found - own)} weights would be lost; set network.temporal={theirs}"
        )
    return (own - found) | rates


def load_image(image: UNet, text_encoder: Encoder, folder: Path, name: str) -> set[str]:
    """Load spatial weights and text encoder of an image model, or of a base generator.

    Args:
        image: the network.
        text_encoder: of its system.
        folder: a run or model folder.
        name: of the network in its system.

    Returns:
        names "part.name" of the weights that all come from there.
    """
    model = model_folder(folder)
    part = next((model / name for name in ("unet", "base") if (model / name).is_dir()), None)
    if part is None:
        raise InputError(f"start.image_model is {folder}; it must be a run or model folder with a unet or a base in it")
    wanted = image.spatial_state()
    if image.image_embedding is not None and "image_embedding.linear_1.weight" not in _weights(part):
        _listen_not_yet(image.image_embedding)
        wanted = {name: value for name, value in wanted.items() if not name.startswith("image_embedding.")}
    loaded = {f"{name}.{key}" for key in _load(image, part, wanted, f"start.image_model {folder}")}
    if isinstance(text_encoder, WordEncoder):
        own = _load(text_encoder, model / "text_encoder", text_encoder.state_dict(), f"start.image_model {folder}")
        loaded |= {f"text_encoder.{key}" for key in own}
    return loaded


def trained_words(recipe: Recipe) -> list[str]:
    """The words of the model that a recipe's run starts from; none where there is none, or one that learns none."""
    found: dict[str, None] = {}
    for folder in (recipe.start.model, recipe.start.image_model):
        config = model_folder(Path(folder or "")) / "text_encoder" / "config.json"
        if folder is not None and config.is_file():
            found |= dict.fromkeys(read_json(config).get("words", []))
    return list(found)


def takes_fps(recipe: Recipe) -> bool:
    """Whether a recipe's network over frames is told their rate: clips have several, or its model was told."""
    if recipe.network.temporal == "image":
        return False
    parts = (
        [] if recipe.start.model is None else [model_folder(Path(recipe.start.model)) / p for p in ("unet", "residual")]
    )
    configs = [part / "config.json" for part in parts]
    told = any(config.is_file() and read_json(config).get("fps") for config in configs)
    return told or bool(recipe.clips.fps_range) or len(set(recipe.clips.strides)) > 1


def _weights(part: Path) -> dict[str, Tensor]:
    return read_tensors(part / WEIGHTS)


def _load(module: nn.Module, part: Path, wanted: Mapping[str, Tensor], what: str) -> set[str]:
    """Load the wanted tensors; returns the names of those that all come from the file.

    Raises:
        InputError: the file lacks one of that shape; the sentence begins with `what`.
    """
    weights, whole = _weights(part), set(wanted)
    if part.name in ("unet", "base") and "conv_in.weight" in wanted:  # it may be told more than its image model
        narrow = weights.get("conv_in.weight")
        weights = widened(weights, wanted)
        if weights.get("conv_in.weight") is not narrow:
            whole.discard("conv_in.weight")
    if isinstance(module, WordEncoder) and "tokens.weight" in weights:
        words = read_json(part / "config.json")["words"]
        weights["tokens.weight"] = _by_word(module, weights["tokens.weight"], words)
        if not set(module.words) <= set(words):
            whole.discard("tokens.weight")
    wrong = [name for name, value in wanted.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise InputError(
            f"{what} does not fit: {part.name} lacks {wrong[0]} of shape "
            f"{tuple(wanted[wrong[0]].shape)} (and {len(wrong) - 1} more)"
        )
    module.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    return whole


def _by_word(encoder: WordEncoder, rows: Tensor, words: Sequence[str]) -> Tensor:
    """Embeddings of an encoder's words from those of other words; those that are not among them stay as drawn."""
    mine = encoder.tokens.weight.detach().clone()
    if rows.shape[1:] != mine.shape[1:]:
        return rows  # of no use, as is said where shapes are looked at
    special = len(mine) - len(encoder.words)
    numbers = {word: special + i for i, word in enumerate(words)}
    mine[:special] = rows[:special]
    for i, word in enumerate(encoder.words, special):
        if word in numbers:
            mine[i] = rows[numbers[word]]
    return mine
