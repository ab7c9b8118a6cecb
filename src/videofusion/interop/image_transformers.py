"""Image transformers in diffusers' folders: PixArt, Stable Diffusion 3, Sana and Flux.

A kind is a row of `KINDS`: its text encoders, and the names of what has to fit them in the network's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videofusion.errors import InputError
from videofusion.interop.diffusers_models import read_diffusers
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.pipeline_parts import TextPart, class_of, read_part, read_text
from videofusion.networks.image_transformer import PACKED, ImageTransformer
from videofusion.trusted import check_foreign

T5, GEMMA = ("T5EncoderModel",), ("Gemma2Model",)
CLIP, POOLED = ("CLIPTextModel",), ("CLIPTextModelWithProjection",)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a class of transformers.

    Args:
        encoders: classes of its text encoders, in order.
        optional: the last encoder may be missing; it then counts as zeros.
        width: the configuration's name for the size of its tokens of text; that of the last encoder.
        pooled: likewise for the embedding of the whole text, which the first encoder or the first two give.
        guidance: scale of classifier-free guidance by default; 1 for a network that is told a scale.
        side: places along a side of its pictures, where its configuration does not say.
    """

    encoders: tuple[tuple[str, ...], ...]
    width: str
    optional: bool = False
    pooled: str | None = None
    guidance: float = 4.5
    side: int = 128


KINDS = {
    "PixArtTransformer2DModel": Kind(encoders=(T5,), width="caption_channels"),
    "SD3Transformer2DModel": Kind(
        encoders=(POOLED, POOLED, T5),
        optional=True,
        width="joint_attention_dim",
        pooled="pooled_projection_dim",
        guidance=7.0,
    ),
    "SanaTransformer2DModel": Kind(encoders=(GEMMA,), width="caption_channels", side=32),
    "FluxTransformer2DModel": Kind(
        encoders=(CLIP, T5), width="joint_attention_dim", pooled="pooled_projection_dim", guidance=1.0
    ),
}
# Tokens of text that pipelines of diffusers ask for by default, by the pipeline's class.
TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300, "SanaPipeline": 300, "FluxPipeline": 512}
TOKENS_OF_OTHERS = 256  # of Stable Diffusion 3


@dataclass(frozen=True, kw_only=True)
class TransformerFacts:
    """What a folder says of its transformer.

    Args:
        kind: its class in diffusers.
        sizes: its configuration there.
        tokens: of text that it is told.
        text_size: of each of them.
        width: of its layers.
        guidance: scale of classifier-free guidance by default.
        side: places along a side of its pictures by default.
        patch: places along a side of one of its tokens.
        spacing: of a sampler's times; None where the schedule says it.
        shifts: how the schedule's shift follows the size: at fewest and most patches, and how many those are
            (Esser et al. 2024, sec. 5.3.2); None where it does not.
    """

    kind: str
    sizes: Mapping[str, Any]
    tokens: int
    text_size: int
    width: int
    guidance: float
    side: int
    patch: int
    spacing: str | None
    shifts: tuple[float, float, float, float] | None


def read_transformer(
    folder: Path, index: Mapping[str, Any], channels: int
) -> tuple[TransformerFacts, tuple[TextPart, ...]]:
    """What a pipeline's folder says of its transformer and text encoders, checked against each other.

    Args:
        folder: of the pipeline.
        index: what its model_index.json holds.
        channels: of the latents.

    Raises:
        InputError: another transformer than those that are known; a text encoder that is missing or of another width;
            a network that is told more than latents and text.
    """
    name, file = class_of(index, "transformer"), folder / "transformer" / "config.json"
    if name not in KINDS:
        raise InputError(
            f"{folder / 'model_index.json'} names a {name} as its transformer; those that work are {', '.join(KINDS)}"
        )
    sizes = {key: value for key, value in read_part(folder, index, "transformer", (name,)).items() if key[:1] != "_"}
    kind, network = KINDS[name], outline(name, sizes, file)
    config, text = network.net.config, _texts(folder, index, kind)
    _fits(file, "makes latents of", network.colours, folder / "vae", channels)
    made = config.get("out_channels") or config.in_channels
    if made not in (config.in_channels, 2 * config.in_channels):
        raise InputError(f"{file}: out_channels is {made}; it must be in_channels, {config.in_channels}, or twice that")
    if name == "SanaTransformer2DModel" and config.guidance_embeds:
        raise InputError(f"{file} is of a Sana Sprint (guidance_embeds), whose few steps no sampler here takes")
    if text[-1].kind not in POOLED:  # which Stable Diffusion 3 puts zeros in place of
        _fits(file, f"reads text ({kind.width}) of", config[kind.width], folder / text[-1].name, text[-1].width)
    if kind.pooled is not None:
        clips = [part for part in text if part.kind.startswith("CLIP")]
        pooled = sum(part.pooled or part.width for part in clips)
        where = folder / clips[0].name
        _fits(file, f"reads whole texts ({kind.pooled}) of", config[kind.pooled], where, pooled)
    tokens = TOKENS.get(str(index.get("_class_name")), TOKENS_OF_OTHERS)
    spacing, shifts = _grid(folder)
    facts = TransformerFacts(
        kind=name,
        sizes=sizes,
        tokens=tokens,
        text_size=config[kind.width],
        width=config.num_attention_heads * config.attention_head_dim,
        guidance=kind.guidance,
        side=_side(file, sizes, kind),
        patch=network.downscale,
        # Flux's pipeline has even times of its own
        spacing=None if name == "FluxTransformer2DModel" else spacing,
        shifts=shifts,
    )
    return facts, text


def outline(kind: str, sizes: Mapping[str, Any], file: Path, **options: Any) -> ImageTransformer:
    """A transformer without weights; raises InputError, with the file's name, where its configuration is none.

    Args:
        kind: its class in diffusers.
        sizes: its configuration there.
        file: that says it.
        options: see `ImageTransformer`.
    """
    try:
        with torch.device("meta"):
            return ImageTransformer(kind=kind, sizes=dict(sizes), **options)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (RuntimeError, AttributeError, KeyError, IndexError) as error:  # a list for a number, and the like
        raise InputError(f"{file} is not as diffusers writes it ({error}); expected was that of a {kind}") from error


def load_transformer(folder: Path, facts: TransformerFacts, factor: int, *, empty: bool = False) -> ImageTransformer:
    """The transformer of a pipeline, in float32 and evaluation mode.

    Args:
        folder: of the pipeline.
        facts: what it says.
        factor: pixels along a side of a place.
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: weights that are a pickle or do not fit.
    """
    import diffusers

    part = folder / "transformer"
    options: dict[str, Any] = {"factor": factor, "tokens": facts.tokens}
    if empty:
        return outline(facts.kind, facts.sizes, part / "config.json", **options)
    config = check_foreign(part / "config.json")
    return ImageTransformer.of(read_diffusers(getattr(diffusers, facts.kind), part, config, "transformer"), **options)


def _texts(folder: Path, index: Mapping[str, Any], kind: Kind) -> tuple[TextPart, ...]:
    found = []
    for number, kinds in enumerate(kind.encoders, 1):
        suffix = "" if number == 1 else f"_{number}"
        last = number == len(kind.encoders)
        if last and kind.optional and class_of(index, f"text_encoder{suffix}") is None:
            continue
        found.append(read_text(folder, index, suffix, kinds))
    return tuple(found)


def _fits(file: Path, what: str, own: int, part: Path, found: int) -> None:
    if own != found:
        raise InputError(
            f"{file} {what} size {own}, but {part / 'config.json'} has {found}; expected was the part that the "
            "transformer was trained with"
        )


def _side(file: Path, sizes: Mapping[str, Any], kind: Kind) -> int:
    side = sizes.get("sample_size", kind.side)
    if not isinstance(side, int) or not 0 < side <= 4096 // PACKED:
        raise InputError(f"{file}: sample_size is {side!r}; it must be in [1, 2048]")
    return side


def _grid(folder: Path) -> tuple[str | None, tuple[float, float, float, float] | None]:
    """The spacing of a scheduler's times, and how its shift follows the size."""
    file = folder / "scheduler" / "scheduler_config.json"
    config = read_json(file) if file.is_file() else {}
    if not str(config.get("_class_name")).startswith("FlowMatchEuler"):
        return None, None
    if not config.get("use_dynamic_shifting"):
        return "sd3", None
    if config.get("time_shift_type", "exponential") != "exponential":
        raise InputError(f"{file}: time_shift_type is {config['time_shift_type']!r}; it must be 'exponential'")
    values = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    least, most, few, many = (float(config.get(name, default)) for name, default in values.items())
    return "sd3", (least, most, few, many)
