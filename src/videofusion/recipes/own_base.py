"""A recipe on an image model of this library: what its folder says takes the place of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe
from videofusion.trusted import read_config

_SHIPPED = Path(__file__).parents[1] / "models_shipped"
_SAME = ("channels", "attention", "blocks", "groups", "patch")


def model_folder(folder: Path) -> Path:
    """The model's folder in that of a run; the folder itself; or that of a model that ships, where it is its name."""
    if len(folder.parts) == 1 and not folder.exists() and (_SHIPPED / folder).is_dir():
        return _SHIPPED / folder
    return folder / "model" if (folder / "model").is_dir() else folder


def image_network(model: Path) -> Path | None:
    """The folder of the image network, or base generator, of a model of this library; None where there is none."""
    for part in ("unet", "base"):
        config = model / part / "config.json"
        if config.is_file() and read_config(config).get("_class_name") == "UNet":
            return model / part
    return None


def on_own_model(recipe: Recipe, path: Path) -> Recipe | None:
    """A recipe that starts from an image model of this library, with its schedule, space, text and sizes.

    Args:
        recipe: of any system that has one network over frames.
        path: of a model or a run, or the name of a model that ships.

    Returns:
        None for a path that is none of these.

    Raises:
        InputError: a video model, or an image model that a recipe cannot have.
    """
    model = model_folder(path.expanduser())
    network = image_network(model)
    if network is None or not (model / "model_index.json").is_file():
        return None
    index, config = read_config(model / "model_index.json"), read_config(network / "config.json")
    if config.get("temporal") != "image":
        raise InputError(f"base is {path}, a video model (temporal is {config.get('temporal')!r}); name an image model")
    if index["height"] != index["width"]:
        raise InputError(f"base {path} makes pictures of {index['width']}x{index['height']}; a recipe's are square")
    prediction = index.get("base_prediction", index.get("prediction"))
    keys: dict[str, Any] = {f"network.{key}": config[key] for key in _SAME}
    keys |= {
        "start.image_model": str(path),
        "text.size": config["text_size"],
        "text.train": False,
        "diffusion.schedule": index["schedule"],
        "diffusion.prediction": prediction,
        "diffusion.weighting": prediction,
        "clips.kind": "folder",
        "clips.size": index["height"],
        "sampling.guidance": index["guidance"],
    }
    for key, part in (("network.autoencoder", "vae"), ("text.encoder", "tokenizer")):
        keys[key] = str(model) if index.get(part, [None])[0] else None
    return recipe.replace(keys | _heads(path, config))


def _heads(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    heads = config["heads"]
    if isinstance(heads, int):
        return {"network.heads": heads, "network.head_size": None}
    sizes = {width // each for width, each in zip(config["channels"], heads, strict=True)}
    if len(sizes) > 1:
        raise InputError(f"base {path} has heads of {sorted(sizes)} features; a recipe's are of one size")
    return {"network.head_size": sizes.pop()}
