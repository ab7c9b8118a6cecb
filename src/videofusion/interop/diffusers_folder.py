"""What a pipeline folder of diffusers says of its model, found out and checked before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.interop.diffusers_schedule import schedule_from_diffusers
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.image_transformers import TransformerFacts, read_transformer
from videofusion.interop.pipeline_parts import (
    VAES,
    TextPart,
    class_of,
    count_weights,
    either,
    index_of,
    latents_of,
    read_part,
    read_text,
)
from videofusion.interop.video_unets import KIND as VIDEO
from videofusion.interop.video_unets import network_config
from videofusion.networks.inputs import TIME_ID_SIZE
from videofusion.networks.unet import UNet
from videofusion.registry import VIDEO_MODELS
from videofusion.trusted import check_values

UNETS = ("UNet2DConditionModel", VIDEO)
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
XL_SCALE = 0.13025  # by which Stable Diffusion XL's autoencoder is known: its shape is that of 1.5's
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class DiffusersFolder:
    """The facts of an image model, or of a video model that is built as one.

    Args:
        folder: that of the pipeline.
        pipeline: its class in diffusers.
        schedule: what `make_schedule` takes.
        prediction: what the network predicts: "eps", "x0", "v" or "flow".
        spacing: of a sampler's times as its scheduler has them; a key of `SPACINGS` in `diffusion/grids.py`.
        unet: keyword arguments of our `UNet`, "temporal" among them for a video model; none of a transformer.
        beside: what the U-Net is given in channels after the noisy latents: nothing; "image" (latents of the image to
            edit, InstructPix2Pix); "mask" and "masked_image" (one channel that is 1 where to paint, and latents of
            the image with that left out: inpainting); "depth" (one channel).
        text: its text encoders, in the order in which their tokens' embeddings are put side by side.
        time_ids: numbers of size and crop that the U-Net is told (Stable Diffusion XL: 6, its refiner: 5); 0 for none.
        zero_null: whether the null condition is zeros in place of the empty prompt (Stable Diffusion XL).
        channels: of the latents.
        factor: pixels along a side of one of their places.
        scale: by which the autoencoder's latents are multiplied.
        height: of its pictures by default, in pixels.
        width: likewise.
        weights: numbers in each part's files.
        transformer: what there is to know of a transformer; None of a U-Net.
    """

    folder: Path
    pipeline: str
    schedule: str
    prediction: str
    spacing: str
    unet: Mapping[str, Any]
    beside: tuple[str, ...]
    text: tuple[TextPart, ...]
    time_ids: int
    zero_null: bool
    channels: int
    factor: int
    scale: float
    height: int
    width: int
    weights: Mapping[str, int]
    transformer: TransformerFacts | None = None

    def memory(self, precision: str = "float32", parts: tuple[str, ...] | None = None) -> int:
        """Bytes that weights take in memory.

        Args:
            precision: "float32", "float16" or "bfloat16".
            parts: some of `weights`, such as those that are at work at once; all when None.
        """
        if precision not in BYTES:
            raise InputError(f"precision is {precision!r}; it must be one of {', '.join(BYTES)}")
        return BYTES[precision] * sum(self.weights[part] for part in parts or self.weights)

    def summary(self) -> str:
        """The facts in a few lines, for a terminal."""
        takes = f", with {' and '.join(self.beside)} beside the latents" if self.beside else ""
        text = ", ".join(f"{part.kind} {part.width} wide" for part in self.text) or "none"
        return "\n".join(
            [
                f"{self.pipeline}: predicts {self.prediction} by the schedule {self.schedule}{takes}",
                f"pictures of {self.width}x{self.height}, latents of {self.channels} channels, "
                f"{self.factor}x{self.factor} pixels a place",
                f"text: {text}",
                f"weights: {sum(self.weights.values()):,}, {self.memory() / 2**30:.2f} GiB in float32",
            ]
        )


def network_kind(folder: str | Path) -> str | None:
    """The class of the U-Net or transformer in a pipeline of diffusers, as its index says; None where there is none.

    A U-Net that is not known is none; which transformers are known, `read_folder` says.
    """
    file = Path(folder).expanduser() / "model_index.json"
    index = read_json(file) if file.is_file() else {}
    if has_transformer(index):
        return class_of(index, "transformer")
    found = class_of(index, "unet")
    return found if found in (*UNETS, *VIDEO_MODELS) else None


def has_transformer(index: Mapping[str, Any]) -> bool:
    """Whether an index names a transformer of diffusers as the network."""
    return class_of(index, "unet") is None and (index.get("transformer") or [None])[0] == "diffusers"


def read_folder(path: str | Path) -> DiffusersFolder:
    """What a pipeline's folder says, with its parts checked against each other.

    Args:
        path: of the folder, as `save_pretrained` or a download left it.

    Raises:
        InputError: it is no such folder; a part is missing, is a pickle, is not whole or does not suit the others. The
            sentence names the file, and what was expected.
    """
    folder = Path(path).expanduser()
    index = index_of(folder)
    if has_transformer(index):
        return _with_transformer(folder, index)
    unet = read_part(folder, index, "unet", UNETS)
    vae = read_part(folder, index, "vae", VAES)
    config = folder / "unet" / "config.json"
    try:
        network = network_config({"_class_name": class_of(index, "unet"), **unet})
    except InputError as error:
        raise InputError(f"{config}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:  # a list for a number, and the like
        raise InputError(
            f"{config} is not as diffusers writes it ({error}); expected was that of a {either(UNETS)}"
        ) from error
    check_values(config, UNet.__name__, network)
    text = _text_parts(folder, index)
    channels, factor, scale = latents_of(folder, vae)
    beside = _beside(folder, network, channels)
    time_ids = _check_text(folder, network, text)
    if scale == XL_SCALE and not time_ids:
        raise InputError(
            f"{folder / 'vae' / 'config.json'} has the scaling_factor {XL_SCALE} of Stable Diffusion XL's autoencoder, "
            f"but {folder / 'unet'} is no U-Net of XL; expected was the autoencoder that it was trained with (0.18215)"
        )
    schedule, prediction = _schedule(folder)
    height, width = _size(folder, unet, factor)
    names = ("unet", "vae", *(part.name for part in text))
    return DiffusersFolder(
        folder=folder,
        pipeline=str(index.get("_class_name")),
        schedule=schedule,
        prediction=prediction,
        spacing=_spacing(folder, schedule),
        unet=network,
        beside=beside,
        text=text,
        time_ids=time_ids,
        zero_null=bool(index.get("force_zeros_for_empty_prompt", False)) and bool(time_ids),
        channels=channels,
        factor=factor,
        scale=scale,
        height=height,
        width=width,
        weights={name: count_weights(folder / name) for name in names},
    )


def _schedule(folder: Path) -> tuple[str, str]:
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        raise InputError(f"{folder} has no scheduler/scheduler_config.json, which says how the model was trained")
    try:
        return schedule_from_diffusers(folder)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _with_transformer(folder: Path, index: Mapping[str, Any]) -> DiffusersFolder:
    vae = read_part(folder, index, "vae", VAES)
    channels, factor, scale = latents_of(folder, vae)
    facts, text = read_transformer(folder, index, channels)
    schedule, prediction = _schedule(folder)
    side = factor * facts.side
    return DiffusersFolder(
        folder=folder,
        pipeline=str(index.get("_class_name")),
        schedule=schedule,
        prediction=prediction,
        spacing=facts.spacing or _spacing(folder, schedule),
        unet={},
        beside=(),
        text=text,
        time_ids=0,
        zero_null=False,
        channels=channels,
        factor=factor,
        scale=scale,
        height=side,
        width=side,
        weights={name: count_weights(folder / name) for name in ("transformer", "vae", *(part.name for part in text))},
        transformer=facts,
    )


def _text_parts(folder: Path, index: Mapping[str, Any]) -> tuple[TextPart, ...]:
    there = [suffix for suffix in ("", "_2") if class_of(index, f"text_encoder{suffix}") is not None]
    if not there:
        raise InputError(
            f"{folder / 'model_index.json'} names no text_encoder; expected was {either(ENCODERS)}, with a tokenizer"
        )
    return tuple(read_text(folder, index, suffix, ENCODERS) for suffix in there)


def _beside(folder: Path, network: Mapping[str, Any], channels: int) -> tuple[str, ...]:
    given, made = network["in_channels"], network["out_channels"]
    if made != channels:
        raise InputError(
            f"{folder / 'unet' / 'config.json'} makes {made} channels, but the latents of {folder / 'vae'} have "
            f"{channels}; expected was the autoencoder that the U-Net was trained with"
        )
    kinds: dict[int, tuple[str, ...]] = {
        1: ("depth",),
        channels: ("image",),
        channels + 1: ("mask", "masked_image"),
        0: (),
    }
    if given - channels not in kinds:
        raise InputError(
            f"{folder / 'unet' / 'config.json'}: in_channels is {given}; with latents of {channels} it must be "
            f"{channels}, {channels + 1} (depth), {2 * channels} (InstructPix2Pix) or {2 * channels + 1} (inpainting)"
        )
    return kinds[given - channels]


def _check_text(folder: Path, network: Mapping[str, Any], text: tuple[TextPart, ...]) -> int:
    """How many numbers of size the U-Net is told; refuses text encoders that are not its own."""
    width = sum(part.width for part in text)
    files = " and ".join(str(folder / part.name / "config.json") for part in text)
    if width != network["text_size"]:
        raise InputError(
            f"{files} {'is' if len(text) == 1 else 'are together'} {width} wide (hidden_size), but "
            f"{folder / 'unet' / 'config.json'} reads text {network['text_size']} wide (cross_attention_dim); expected "
            "were the text encoders that the U-Net was trained with"
        )
    added = network.get("added_size")
    if not added:
        return 0
    pooled = text[-1].pooled
    if pooled is None:
        raise InputError(
            f"{folder / text[-1].name} is a {text[-1].kind}; expected was a CLIPTextModelWithProjection, whose "
            "embedding of the whole text the U-Net is told"
        )
    count, rest = divmod(added - pooled, TIME_ID_SIZE)
    if rest or count not in (5, 6):
        raise InputError(
            f"{folder / text[-1].name / 'config.json'} gives a text {pooled} wide (projection_dim), with which "
            f"{folder / 'unet' / 'config.json'} would have to read {pooled + 6 * TIME_ID_SIZE} numbers "
            f"(projection_class_embeddings_input_dim); it reads {added}"
        )
    return count


def _size(folder: Path, unet: Mapping[str, Any], factor: int) -> tuple[int, int]:
    size = unet.get("sample_size") or 64
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if not all(isinstance(each, int) and 0 < each <= 4096 for each in (height, width)):
        raise InputError(f"{folder / 'unet' / 'config.json'}: sample_size is {size!r}; it must be in [1, 4096]")
    return factor * height, factor * width


def _spacing(folder: Path, schedule: str) -> str:
    """The grid of times that comes nearest to the scheduler's own."""
    if schedule.startswith("edm"):
        return "karras"
    if schedule.startswith("rectified_flow"):
        return "trailing"
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    return "sd-trailing" if config.get("timestep_spacing") == "trailing" else "sd"
