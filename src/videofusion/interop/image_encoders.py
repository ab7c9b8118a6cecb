"""CLIP's image encoder from files, with the settings of its image processor."""

from __future__ import annotations

from pathlib import Path

from videofusion.conditioning.image import FrozenFrames
from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.transformers_models import read_model

KINDS = ("CLIPVisionModelWithProjection", "CLIPModel")
_PROCESSOR = "preprocessor_config.json"


def load_image_encoder(path: str | Path, *, empty: bool = False) -> FrozenFrames:
    """An image encoder in float32.

    Args:
        path: folder of one of `KINDS`, or of a pipeline that has one in `image_encoder`; beside it, or in
            `image_processor` or `feature_extractor`, what prepares its pictures.
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: no such folder, another kind of model, weights that are a pickle or do not fit, an image processor
            that prepares pictures in another way than CLIP's; transformers is not installed.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f'image_encoder is "{path}"; it must be a folder with a config.json and safetensors of CLIP')
    beside = [folder]
    if not (folder / "config.json").is_file() and (folder / "image_encoder").is_dir():
        beside = [folder / "image_encoder", folder / "image_processor", folder / "feature_extractor"]
        folder = beside[0]
    model = read_model(folder, KINDS, "image_encoder", as_kind=KINDS[0], empty=empty)
    for place in beside:
        if (place / _PROCESSOR).is_file():
            _prepare(model, place / _PROCESSOR)
            break
    return FrozenFrames(model)


def _prepare(model: object, processor: Path) -> None:
    """Note mean and deviation in a model's config, and refuse a processor that does what `FrozenFrames` does not."""
    told, config = read_json(processor), model.config  # type: ignore[attr-defined]
    side = config.image_size
    for key, allowed in (
        ("size", ({"shortest_edge": side}, {"height": side, "width": side}, side)),
        ("crop_size", ({"height": side, "width": side}, side)),
        *((f"do_{what}", (True,)) for what in ("resize", "center_crop", "rescale", "normalize")),
        ("resample", (3,)),
    ):
        if key in told and told[key] not in allowed:
            raise InputError(f"{processor} has {key} {told[key]}; with this image_encoder it must be {allowed[0]}")
    for key in ("image_mean", "image_std"):
        if key in told:
            setattr(config, key, told[key])
