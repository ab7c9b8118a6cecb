"""What a pipeline folder of diffusers says of its model, found out and checked before any weight is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.files import PICKLES
from videofusion.interop.diffusers_schedule import schedule_from_diffusers
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.video_unets import KIND as VIDEO
from videofusion.interop.video_unets import network_config
from videofusion.interop.weight_files import read_header
from videofusion.networks.inputs import TIME_ID_SIZE
from videofusion.networks.unet import UNet
from videofusion.registry import VIDEO_MODELS
from videofusion.trusted import check_foreign, check_values, refuse_code

UNETS = ("UNet2DConditionModel", VIDEO)
VAES = ("AutoencoderKL", "AutoencoderTiny", "TinyAutoencoder")
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
XL_SCALE = 0.13025  # by which Stable Diffusion XL's autoencoder is known: its shape is that of 1.5's
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A text encoder of a folder.

    Args:
        name: of its folder.
        tokenizer: name of its tokenizer's folder.
        kind: its class in transformers.
        width: of its token embeddings.
        pooled: width of its embedding of a whole text; None where it has none.
        length: tokens that it takes at once.
    """

    name: str
    tokenizer: str
    kind: str
    width: int
    pooled: int | None
    length: int


@dataclass(frozen=True, kw_only=True)
class DiffusersFolder:
    """The facts of an image model, or of a video model that is built as one.

    Args:
        folder: that of the pipeline.
        pipeline: its class in diffusers.
        schedule: what `make_schedule` takes.
        prediction: what the U-Net predicts: "eps", "x0" or "v".
        spacing: of a sampler's times as its scheduler has them; a key of `SPACINGS` in `diffusion/grids.py`.
        unet: keyword arguments of our `UNet`, "temporal" among them for a video model.
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


def unet_kind(folder: str | Path) -> str | None:
    """The class of the U-Net in a pipeline of diffusers, as its index says; None where it is none that is known."""
    index = Path(folder).expanduser() / "model_index.json"
    found = _entry(read_json(index), "unet") if index.is_file() else None
    return found if found in (*UNETS, *VIDEO_MODELS) else None


def read_folder(path: str | Path) -> DiffusersFolder:
    """What a pipeline's folder says, with its parts checked against each other.

    Args:
        path: of the folder, as `save_pretrained` or a download left it.

    Raises:
        InputError: it is no such folder; a part is missing, is a pickle, is not whole or does not suit the others. The
            sentence names the file, and what was expected.
    """
    folder = Path(path).expanduser()
    index = read_index(folder)
    unet = read_part(folder, index, "unet", UNETS)
    vae = read_part(folder, index, "vae", VAES)
    config = folder / "unet" / "config.json"
    try:
        network = network_config({"_class_name": _entry(index, "unet"), **unet})
    except InputError as error:
        raise InputError(f"{config}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:  # a list for a number, and the like
        raise InputError(
            f"{config} is not as diffusers writes it ({error}); expected was that of a {_or(UNETS)}"
        ) from error
    check_values(config, UNet.__name__, network)
    text = _text_parts(folder, index)
    channels, factor, scale = read_latents(folder, vae)
    beside = _beside(folder, network, channels)
    time_ids = _check_text(folder, network, text)
    if scale == XL_SCALE and not time_ids:
        raise InputError(
            f"{folder / 'vae' / 'config.json'} has the scaling_factor {XL_SCALE} of Stable Diffusion XL's autoencoder, "
            f"but {folder / 'unet'} is no U-Net of XL; expected was the autoencoder that it was trained with (0.18215)"
        )
    if not (folder / "scheduler" / "scheduler_config.json").is_file():
        raise InputError(f"{folder} has no scheduler/scheduler_config.json, which says how the model was trained")
    try:
        schedule, prediction = schedule_from_diffusers(folder)
    except InputError as error:
        raise InputError(f"{folder / 'scheduler' / 'scheduler_config.json'}: {error}") from error
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


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a pipeline; raises InputError for what is no folder of one."""
    if folder.is_file():
        kind = "a pickle, which is refused" if folder.suffix in PICKLES else "a file"
        raise InputError(f"{folder} is {kind}; expected was the folder of a diffusers pipeline")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; expected was that of a diffusers pipeline")
    if (folder / "model_index.json").is_file():
        return read_json(folder / "model_index.json")
    if (folder / "config.json").is_file():
        kind = read_json(folder / "config.json").get("_class_name", "part")
        raise InputError(
            f"{folder} is the folder of a {kind} alone; expected was that of a whole pipeline, with a model_index.json"
        )
    pickles = sorted(file.name for file in folder.glob("*") if file.suffix in PICKLES)
    there = f" ({pickles[0]} in it is a pickle, which is not read)" if pickles else ""
    raise InputError(f"{folder} has no model_index.json{there}; expected was the folder of a diffusers pipeline")


def _entry(index: Mapping[str, Any], name: str) -> str | None:
    """The class of a part as a pipeline's index has it."""
    entry = index.get(name)
    return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and entry[1] else None


def read_part(folder: Path, index: Mapping[str, Any], name: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a part that must be there, and must be of one of some kinds."""
    said, part = _entry(index, name), folder / name
    if said is None:
        there = ", ".join(sorted(each for each in index if _entry(index, each))) or "none"
        raise InputError(
            f"{folder / 'model_index.json'} names no {name}; expected was one of {_or(kinds)} ({there} are)"
        )
    if said not in kinds:
        raise InputError(f"{folder / 'model_index.json'} names a {said} as its {name}; expected was {_or(kinds)}")
    if not (part / "config.json").is_file():
        raise InputError(f"{part / 'config.json'} is missing; expected was the configuration of a {said}")
    refuse_code(part)
    config = check_foreign(part / "config.json")
    own = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if own is not None and (own not in kinds or (name == "unet" and own != said)):
        wanted = (said,) if name == "unet" else kinds
        raise InputError(f"{part / 'config.json'} is that of a {own}; expected was {_or(wanted)}")
    return config


def _text_parts(folder: Path, index: Mapping[str, Any]) -> tuple[TextPart, ...]:
    found = []
    for suffix in ("", "_2"):
        name, tokenizer = f"text_encoder{suffix}", f"tokenizer{suffix}"
        if _entry(index, name) is None:
            continue
        config = read_part(folder, index, name, ENCODERS)
        words = folder / tokenizer
        if _entry(index, tokenizer) is None or not words.is_dir() or not any(words.glob("*.json")):
            raise InputError(f"{words} is missing; expected was the tokenizer of {name}")
        kind = str(_entry(index, name))
        sizes = {"hidden_size": 512, "projection_dim": 512, "max_position_embeddings": 77}
        for key, default in sizes.items():
            sizes[key] = config.get(key, default)
            if not isinstance(sizes[key], int) or sizes[key] < 3:
                raise InputError(
                    f"{folder / name / 'config.json'}: {key} is {sizes[key]!r}; it must be a number above 2"
                )
        found.append(
            TextPart(
                name=name,
                tokenizer=tokenizer,
                kind=kind,
                width=sizes["hidden_size"],
                pooled=sizes["projection_dim"] if kind.endswith("WithProjection") else None,
                length=min(sizes["max_position_embeddings"], _length(words)),
            )
        )
    if not found:
        raise InputError(
            f"{folder / 'model_index.json'} names no text_encoder; expected was {_or(ENCODERS)}, with a tokenizer"
        )
    return tuple(found)


def _length(words: Path) -> int:
    """Tokens that a tokenizer says are the most."""
    config = words / "tokenizer_config.json"
    most = read_json(config).get("model_max_length") if config.is_file() else None
    return int(most) if isinstance(most, int | float) and math.isfinite(most) and most > 2 else 2**31


def read_latents(folder: Path, vae: Mapping[str, Any]) -> tuple[int, int, float]:
    """Channels, factor and scale of an autoencoder's latents."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    factor: Any = 2 ** (len(levels) - 1) if isinstance(levels, list) else vae.get("factor")  # of a TinyAutoencoder
    if not isinstance(vae.get("latent_channels"), int) or not isinstance(factor, int) or factor < 1:
        raise InputError(f"{folder / 'vae' / 'config.json'} lacks block_out_channels or latent_channels")
    scale = vae.get("scaling_factor", 1.0 if str(vae.get("_class_name")) in VAES[1:] else 0.18215)
    if not isinstance(scale, int | float) or not math.isfinite(scale) or scale <= 0:
        raise InputError(f"{folder / 'vae' / 'config.json'}: scaling_factor is {scale!r}; it must be a number above 0")
    return vae["latent_channels"], factor, float(scale)


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


def count_weights(part: Path) -> int:
    """Numbers in a part's files, each of which is whole."""
    variants: dict[str, list[Path]] = {}
    for file in sorted(part.glob("*.safetensors")):
        # in parts "model-00001-of-00002.safetensors" or with ".fp16" in between: one set of files is read
        variants.setdefault(
            ".fp16" if ".fp16" in file.name else ".non_ema" if ".non_ema" in file.name else "", []
        ).append(file)
    if not variants:
        pickles = sorted(file.name for file in part.glob("*") if file.suffix in PICKLES)
        there = f"it has only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "it has none"
        raise InputError(f"{part} must have its weights as safetensors; {there}")
    files = variants.get("") or variants.get(".fp16") or next(iter(variants.values()))
    _all_there(part, files)
    return sum(stored.count for file in files for stored in read_header(file).values())


def _all_there(part: Path, files: list[Path]) -> None:
    there = {file.name for file in files}
    for index in sorted(part.glob("*.safetensors.index*.json")):
        named = set(map(str, read_json(index).get("weight_map", {}).values()))
        missing = sorted(named - there)
        if missing and named & there:
            raise InputError(f"{part / missing[0]} is missing, which {index.name} names; fetch it again")


def _or(kinds: tuple[str, ...]) -> str:
    return " or ".join(kinds)
