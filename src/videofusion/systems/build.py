"""From a recipe and its data to the system that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.motion import measured_share, share_profiles
from videofusion.conditioning.text import WordEncoder, split_words
from videofusion.data.batch import BadClip, Dataset
from videofusion.data.layouts.encoded import Made
from videofusion.diffusion.grids import times
from videofusion.diffusion.options import SamplingOptions, read_options
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.autoencoder import Latents, Pixels, space_of
from videofusion.networks.fingerprints import fingerprint
from videofusion.networks.inflation import inflated, of_its_sizes
from videofusion.networks.temporal import TEMPORAL_DESIGNS, temporal_design
from videofusion.networks.unet import UNet
from videofusion.recipes.recipe import Recipe
from videofusion.systems.decomposed import SEES_BASE
from videofusion.systems.embedding import EmbeddingParts, embedding_parts, frame_encoder, measure_embeddings
from videofusion.systems.pretrained import (
    diffusers_base,
    hears_fps,
    load_image,
    load_parts,
    start_from,
    trained_words,
)
from videofusion.systems.training import SamplingDefaults, StepOptions
from videofusion.systems.vdm import VDMSystem
from videofusion.systems.videofusion import VideoFusionSystem
from videofusion.training.tuning import tune

PROFILE_CLIPS = 256  # training clips whose lambda is measured for the motion knob


def step_options(recipe: Recipe) -> StepOptions:
    """What a recipe's training steps look at."""
    return StepOptions(**{each.name: getattr(recipe, each.name) for each in fields(StepOptions)})


def sampling_defaults(recipe: Recipe) -> SamplingDefaults:
    """How the pipelines of a recipe's models sample."""
    keys = {each.name: getattr(recipe, each.name) for each in fields(SamplingDefaults)}
    keys["sampler_options"] = read_options(recipe.sampler_options)
    options = SamplingOptions().turned(keys["sampler_options"], recipe.sampler)
    with torch.device("cpu"):  # where only sizes count, others have no numbers
        times(make_schedule(recipe.schedule), recipe.sample_steps, spacing=options.spacing)  # refuses what cannot be
    if options.threshold and recipe.autoencoder is not None:
        raise InputError(f"threshold is {options.threshold}; it is for models in pixels, and this one is in latents")
    return SamplingDefaults(**keys)


def build_system(
    recipe: Recipe,
    data: Dataset,
    device: torch.device | None = None,
    words: Sequence[str] | None = None,
    profiles: Sequence[Sequence[float]] | None = None,
) -> VideoFusionSystem | VDMSystem:
    """The system of a recipe, with initial weights drawn from torch's global seed.

    Args:
        recipe: what to build.
        data: the training clips; their captions give the words, their frames the motion knob's range.
        device: where an autoencoder encodes those; it stays there, all else is on the default device.
        words: of the text encoder, where a run has begun with them; those of the captions when None.
        profiles: of lambda, likewise; those of the data when None.

    Raises:
        InputError: a pretrained base that is none, or of other sizes; data without what the recipe groups clips by;
            what `tune` refuses.
    """
    text_encoder = _text_encoder(recipe, data, words)
    shape = (recipe.frames, recipe.size, recipe.size)
    options, sampling = step_options(recipe), sampling_defaults(recipe)
    space = _space(recipe)
    if device is not None and space.vae is not None:
        space.vae.to(device)
    _check_made(data, recipe, space, text_encoder)
    published = recipe.system == "videofusion" and recipe.variant == "published"
    colours = space.channels
    told = embedding_parts(recipe, colours, text_encoder) if published else EmbeddingParts()
    theirs = diffusers_base(recipe, colours, told.size)
    if recipe.system == "vdm":
        _check_row(recipe.temporal)
        if theirs is None:
            unet = _unet(recipe, colours, colours, recipe.channels, recipe.temporal, fps=hears_fps(recipe))
        else:
            unet = inflated(theirs, recipe.temporal, fps=hears_fps(recipe))
        system: VideoFusionSystem | VDMSystem = VDMSystem(
            unet,
            text_encoder,
            shape=shape,
            schedule=recipe.schedule,
            prediction=recipe.prediction,
            train_text=recipe.train_text,
            options=options,
            sampling=sampling,
            vae=space.vae,
            image_encoder=frame_encoder(recipe, colours) if recipe.text_from == "frames" else None,
            noise=recipe.noise,
            noise_parameter=recipe.noise_parameter,
        )
        image = unet
    else:
        if recipe.grouped and not any((*getattr(data, "identities", ()), *getattr(data, "actions", ()))):
            raise InputError("recipe key grouped is True, but the data name no clip's identity or action")
        image = theirs or _unet(recipe, colours, colours, recipe.channels, "image", image_size=told.size)
        seen = 2 * colours if recipe.variant in SEES_BASE else colours
        temporal = "framewise" if recipe.variant == "framewise" else recipe.temporal
        if theirs is not None and recipe.residual_from_base:
            residual = of_its_sizes(theirs, temporal, in_channels=seen, fps=hears_fps(recipe))
        else:
            residual = _unet(
                recipe,
                colours,
                seen,
                recipe.residual_channels,
                temporal,
                image_size=told.size,
                fps=hears_fps(recipe),
            )
        system = VideoFusionSystem(
            image,
            residual,
            text_encoder,
            shape=shape,
            schedule=recipe.schedule,
            prediction=recipe.prediction,
            variant=recipe.variant,
            share=recipe.share,
            adaptive=recipe.adaptive,
            profiles=_profiles(recipe, data, space) if profiles is None else [list(row) for row in profiles],
            base_loss=recipe.base_loss,
            base_frames=recipe.base_frames,
            base_rate_ratio=recipe.base_rate_ratio,
            train_text=recipe.train_text,
            options=options,
            sampling=sampling,
            motion_guidance=recipe.motion_guidance,
            grouped=recipe.grouped,
            image_encoder=told.image_encoder,
            prior=told.prior,
            prior_text=told.prior_text,
            vae=space.vae,
        )
        measure_embeddings(told, recipe, space, _some_clips(data, space), device)
    for network in (*system.modules.values(), *system.frozen.values()):
        if isinstance(network, UNet):
            network.check_size(recipe.size, recipe.size, space.factor)
    started: set[str] = set()  # parameters, "part.name", whose weights are not drawn
    if theirs is not None:
        part = "base" if isinstance(system, VideoFusionSystem) else "unet"
        started |= {f"{part}.{name}" for name in theirs.state_dict() if not name.startswith("image_embedding.")}
    if told.prior is not None and told.prior_text is not None:
        started |= {f"prior.{name}" for name in told.prior.state_dict()}
    if recipe.pretrained is not None:
        started |= load_parts(system, Path(recipe.pretrained))
    if recipe.pretrained_base is not None and theirs is None:
        part = "base" if isinstance(system, VideoFusionSystem) else "unet"
        started |= load_image(image, text_encoder, Path(recipe.pretrained_base), part)
    if recipe.residual_from_base and recipe.pretrained is None and isinstance(system, VideoFusionSystem):
        own = start_from(system.residual, image)
        started |= {name for name in own if name.replace("residual.", "base.", 1) in started}
    heard = "base.image_embedding.linear_1.weight" in started
    if recipe.pretrained_base is not None and image.image_embedding is not None and not heard:
        image.image_embedding.requires_grad_()  # of a fixed base too, which would never hear what the variant lives by
    tune(system, recipe, started)
    return system


def _space(recipe: Recipe) -> Pixels | Latents:
    """Where the recipe's clips live; on torch's meta device an autoencoder has no numbers."""
    if recipe.autoencoder is None:
        return Pixels()
    space = space_of(load_autoencoder(recipe.autoencoder, empty=torch.get_default_device().type == "meta"))
    space.check_size(recipe.size, recipe.size)
    return space


def _text_encoder(recipe: Recipe, data: Dataset, words: Sequence[str] | None) -> WordEncoder | FrozenText:
    """What the recipe's texts are read by."""
    if recipe.text_encoder is None:
        if words is not None:
            return WordEncoder(words=words, size=recipe.text_dim)
        own = _words(data)
        known = trained_words(recipe)  # kept, that nothing is forgotten; adapters are made for a model and its words
        new = [] if recipe.trains == "lora" and known else [word for word in own if word not in known]
        return WordEncoder(words=[*known, *new], size=recipe.text_dim)
    found = load_text_encoder(recipe.text_encoder, empty=torch.get_default_device().type == "meta")
    if found.size != recipe.text_dim:
        raise InputError(
            f"recipe key text_dim is {recipe.text_dim}, but the text encoder {recipe.text_encoder} has embeddings of "
            f"size {found.size}; set text_dim={found.size}"
        )
    return found


def _check_made(data: Dataset, recipe: Recipe, space: Pixels | Latents, text_encoder: WordEncoder | FrozenText) -> None:
    """Raise InputError where data were encoded by another autoencoder or text encoder than the recipe's."""
    made: Made | None = getattr(data, "made", None)
    if made is None:
        return
    own = "none" if space.vae is None else fingerprint(space.vae)
    if made.autoencoder is not None and own != made.autoencoder:
        raise InputError(
            f"the data were encoded by the autoencoder with the fingerprint {made.autoencoder}, but that of recipe key "
            f"autoencoder ({recipe.autoencoder}) is {own}"
        )
    # a text encoder that learns words makes its own embeddings
    if made.text is not None and isinstance(text_encoder, FrozenText) and text_encoder.fingerprint() != made.text:
        raise InputError(
            f"the data's texts were encoded by the text encoder with the fingerprint {made.text}, but that of recipe "
            f"key text_encoder ({recipe.text_encoder}) is {text_encoder.fingerprint()}"
        )


def _unet(
    recipe: Recipe,
    colours: int,
    seen: int,
    channels: Sequence[int],
    temporal: str,
    *,
    image_size: int | None = None,
    fps: bool = False,
) -> UNet:
    """A network of the recipe for frames of so many colours, told the middle frame's embedding or the clip's rate."""
    heads: int | list[int] = recipe.heads
    if recipe.head_size is not None:
        if any(width % recipe.head_size for width in channels):
            raise InputError(
                f"recipe key head_size is {recipe.head_size}, which does not divide the channels {channels}"
            )
        heads = [width // recipe.head_size for width in channels]
    unet = UNet(
        in_channels=seen,
        out_channels=colours,
        channels=tuple(channels),
        blocks=recipe.blocks,
        attention=recipe.attention,
        heads=heads,
        text_size=recipe.text_dim,
        image_size=image_size,
        pool_text=recipe.text_encoder is None,  # whose first token is one that gathers the text
        fps=fps,
        groups=recipe.groups,
        scale_shift=True,
        patch=recipe.patch,
        temporal=temporal,
    )
    unet.gradient_checkpointing = recipe.gradient_checkpointing
    return unet


def _check_row(temporal: str) -> None:
    """Raise InputError for a temporal design that plain diffusion cannot have."""
    if not temporal_design(temporal).share:
        return
    named = temporal.replace("residual", "factorised")
    instead = named if named in TEMPORAL_DESIGNS and named != temporal else "factorised"
    raise InputError(
        f"recipe key temporal is {temporal!r}, whose network is told each frame's share of the base noise, and the "
        f"system 'vdm' has none; set temporal={instead}"
    )


def _words(data: Dataset) -> list[str]:
    """The words that the data say they have, or every word of their captions; "clip" where there is none.

    So that there is something to type.
    """
    if known := getattr(data, "words", ()):
        return list(known)
    captions: Sequence[str] = getattr(data, "captions", ())
    return sorted({word for caption in captions for word in split_words(caption)}) or ["clip"]


def _profiles(recipe: Recipe, data: Dataset, space: Pixels | Latents) -> list[list[float]] | None:
    """Quantiles of the lambda measured on training clips; the median alone where training takes no other."""
    if not recipe.adaptive and recipe.share is not None:
        return None
    shares = [measured_share(clip) for clip in _some_clips(data, space)]
    profiles = share_profiles(torch.cat(shares))
    return profiles if recipe.adaptive else profiles[len(profiles) // 2 :][:1]


def _some_clips(data: Dataset, space: Pixels | Latents) -> Iterator[Tensor]:
    """Training clips that can be read, [1 t c h w] in the recipe's space; InputError where none can.

    They are from all over the data, which often have one class or scene after the other.
    """
    bad, found, count = None, False, min(len(data), PROFILE_CLIPS)
    for place in range(count):
        try:
            sample = data.sample(place * len(data) // count, 0, 0)
            clip = sample.clip[None]
            if not sample.encoded and space.vae is not None:
                clip = space.encode(clip.to(next(space.vae.parameters()).device)).cpu()
        except BadClip as error:  # the loader names it in its report when training meets it
            bad = bad or error
            continue
        yield clip
        found = True
    if not found:
        raise InputError(f"none of {count} training clips can be read, the first because of {bad}")
