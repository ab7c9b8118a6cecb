"""From a recipe and its data to the system that is trained: what the recipe gives any system, as its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.prompt import Encoder
from videofusion.conditioning.text import WordEncoder, split_words
from videofusion.data.batch import BadClip, Dataset
from videofusion.data.items import Encoding
from videofusion.diffusion.grids import times
from videofusion.diffusion.options import SamplingOptions, read_options
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import read_folder
from videofusion.interop.image_model import load_prompts
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.autoencoder import Latents, Pixels, Space, space_of
from videofusion.networks.fingerprints import fingerprint
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.inflation import inflated
from videofusion.networks.unet import UNet
from videofusion.recipes.recipe import Recipe
from videofusion.registry import get_system
from videofusion.systems.interface import Common, SamplingDefaults, StepOptions, System
from videofusion.systems.pretrained import (
    diffusers_base,
    has_transformer,
    is_xl,
    load_image,
    load_parts,
    takes_fps,
    trained_words,
)
from videofusion.systems.tuning import tune

PROFILE_CLIPS = 256  # training clips that a system looks at before it is trained, as for the motion knob


def step_options(recipe: Recipe) -> StepOptions:
    """What a recipe's training steps look at."""
    batch, diffusion = recipe.batch, recipe.diffusion
    return StepOptions(
        weighting=diffusion.weighting,
        caption_dropout=recipe.text.dropout,
        train_frames=batch.frames,
        reach=batch.reach,
        reach_share=batch.reach_share,
        time_logit=diffusion.time_logit,
    )


def sampling_defaults(recipe: Recipe) -> SamplingDefaults:
    """How the pipelines of a recipe's models sample."""
    sampling = recipe.sampling
    given = read_options(sampling.options)
    options = SamplingOptions().turned(given, sampling.sampler)
    with torch.device("cpu"):  # where only sizes count, others have no numbers
        times(
            make_schedule(recipe.diffusion.schedule), sampling.steps, spacing=options.spacing
        )  # refuses what cannot be
    if options.threshold and recipe.network.autoencoder is not None:
        raise InputError(f"threshold is {options.threshold}; it is for models in pixels, and this one is in latents")
    return SamplingDefaults(
        guidance=sampling.guidance,
        guidance_interval=sampling.guidance_interval,
        guidance_skip=sampling.guidance_skip,
        sampler=sampling.sampler,
        sampler_options=given,
        data=recipe.clips.kind,
    )


def build_system(
    recipe: Recipe,
    data: Dataset,
    device: torch.device | None = None,
    words: Sequence[str] | None = None,
    profiles: Sequence[Sequence[float]] | None = None,
) -> System:
    """The system of a recipe, with initial weights drawn from torch's global seed.

    Args:
        recipe: what to build.
        data: the training clips; their captions give the words, their frames what a system measures.
        device: where an autoencoder encodes those; it stays there, all else is on the default device.
        words: of the text encoder, where a run has begun with them; those of the captions when None.
        profiles: of lambda, likewise; those of the data when None.

    Raises:
        InputError: a pretrained base that is none, or of other sizes; data without what the recipe groups clips by;
            what `tune` refuses.
    """
    parts = Parts(recipe, data, device, words, profiles)
    system: System = get_system(recipe.system.name).build(recipe.system, parts)
    for network in (*system.modules.values(), *system.frozen.values()):
        if isinstance(network, FrameNetwork):
            network.check_size(recipe.clips.size, recipe.clips.size, parts.common.space.factor)
    tune(system, recipe, parts.started)
    return system


class Parts:
    """What a recipe and its data give a system: text, space, networks, facts of the data, weights to start from.

    Args:
        recipe: of the run.
        data: the training clips.
        device: where what is looked at before training computes.
        words: of the text encoder, where a run has begun with them.
        profiles: of lambda, likewise.

    Attributes:
        common: what every system takes from its recipe.
        text: encoder of the captions.
        started: parameters, "part.name", whose weights are not drawn.

    Raises:
        InputError: what the recipe names cannot be read, or does not go together.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        device: torch.device | None = None,
        words: Sequence[str] | None = None,
        profiles: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.recipe, self.data, self.device, self.profiles = recipe, data, device, profiles
        self.text = _text_encoder(recipe, data, words)
        options, sampling, space = step_options(recipe), sampling_defaults(recipe), _space(recipe)
        if device is not None and space.vae is not None:
            space.vae.to(device)
        _check_made(data, recipe, space, self.text)
        self.common = Common(
            shape=(recipe.clips.frames, recipe.clips.size, recipe.clips.size),
            space=space,
            schedule=recipe.diffusion.schedule,
            prediction=recipe.diffusion.prediction,
            train_text=recipe.text.train,
            options=options,
            sampling=sampling,
        )
        self.started: set[str] = set()
        self._theirs: UNet | ImageTransformer | None = None  # an image model of diffusers

    @property
    def temporal(self) -> str:
        """The recipe's temporal design."""
        return self.recipe.network.temporal

    @property
    def takes_fps(self) -> bool:
        """Whether networks over frames are told their rate: clips have several, or the model was told."""
        return takes_fps(self.recipe)

    @property
    def counted(self) -> bool:
        """Whether networks have sizes and no numbers, since they are only counted."""
        return torch.get_default_device().type == "meta"

    def starts(self, part: str) -> bool:
        """Whether weights of a part are not drawn; of what is only counted, none need be."""
        return self.counted or any(name.startswith(f"{part}.") for name in self.started)

    def image_model(self, image_size: int | None = None, temporal: str = "image") -> UNet | ImageTransformer | None:
        """The image model of diffusers that the recipe starts from; None where it names none.

        Args:
            image_size: of a frame's embedding, which it is then told: at first it does not listen.
            temporal: a row of `TEMPORAL_DESIGNS`: a video model of diffusers that has its layers will do too.
        """
        self._theirs = diffusers_base(self.recipe, self.common.space.channels, image_size, temporal)
        return self._theirs

    def unet(self, temporal: str, **told: Any) -> UNet:
        """A network over frames: of the recipe's sizes, or the image model of diffusers that it starts from, inflated.

        Temporal layers of the latter add nothing yet, unless it is a video model that has them.

        Args:
            temporal: a row of `TEMPORAL_DESIGNS`.
            told: what it is told, as keywords of `UNet`; see `network_inputs`.

        Raises:
            InputError: the image model is a transformer, which takes no temporal layers.
        """
        theirs = self.image_model(told.get("image_size"), temporal)
        if theirs is None:
            return self.drawn(temporal, self.recipe.network.channels, **told)
        if not isinstance(theirs, UNet):
            raise InputError(
                f"start.image_model {self.recipe.start.image_model} is a {theirs.config.kind}, which takes no temporal "
                "layers; it can be the base generator of the system 'videofusion'"
            )
        return inflated(theirs, temporal, **told)

    def drawn(self, temporal: str, channels: Sequence[int], **told: Any) -> UNet:
        """A network of the recipe's sizes with drawn weights.

        Args:
            temporal: a row of `TEMPORAL_DESIGNS`.
            channels: of each level, finest first.
            told: what it is told, as keywords of `UNet`.

        Raises:
            InputError: a size of heads that does not divide the channels.
        """
        recipe, network = self.recipe, self.recipe.network
        heads: int | list[int] = network.heads
        if network.head_size is not None:
            if any(width % network.head_size for width in channels):
                raise InputError(
                    f"recipe key network.head_size is {network.head_size}, which does not divide the channels "
                    f"{channels}"
                )
            heads = [width // network.head_size for width in channels]
        colours = self.common.space.channels
        of_text = {"text_size": recipe.text.size, "pool_text": recipe.text.encoder is None}
        unet = UNet(
            **{"in_channels": colours, "out_channels": colours, **of_text, **told},
            channels=tuple(channels),
            blocks=network.blocks,
            attention=network.attention,
            heads=heads,
            groups=network.groups,
            scale_shift=True,
            patch=network.patch,
            temporal=temporal,
        )
        unet.gradient_checkpointing = recipe.compute.gradient_checkpointing
        return unet

    def frame_encoder(self) -> FrameEncoder:
        """A small image encoder with embeddings of the text's size, drawn."""
        return FrameEncoder(size=self.recipe.text.size, in_channels=self.common.space.channels)

    def begin(self, system: System, image: str) -> None:
        """Give a system the weights that the recipe starts from.

        Args:
            system: with drawn weights.
            image: the part that an image model's weights are for.

        Raises:
            InputError: weights of other sizes, or none in the folder.
        """
        recipe = self.recipe
        if self._theirs is not None:
            own = (name for name in self._theirs.state_dict() if not name.startswith("image_embedding."))
            self.started |= {f"{image}.{name}" for name in own}
        if recipe.start.model is not None:
            self.started |= load_parts(system, Path(recipe.start.model))
        if recipe.start.image_model is not None and self._theirs is None:
            parts: dict[str, nn.Module] = system.frozen | system.modules
            network = parts[image]
            assert isinstance(network, UNet)
            self.started |= load_image(network, self.text, Path(recipe.start.image_model), image)

    def clips(self) -> Iterator[Tensor]:
        """Training clips that can be read, [1 t c h w] where the system has them; InputError where none can.

        They are from all over the data, which often have one class or scene after the other.
        """
        return _some_clips(self.data, self.common.space)


def _space(recipe: Recipe) -> Pixels | Latents:
    """Where the recipe's clips live; on torch's meta device an autoencoder has no numbers."""
    if recipe.network.autoencoder is None:
        return Pixels()
    space = space_of(load_autoencoder(recipe.network.autoencoder, empty=torch.get_default_device().type == "meta"))
    space.check_size(recipe.clips.size, recipe.clips.size)
    return space


def _text_encoder(recipe: Recipe, data: Dataset, words: Sequence[str] | None) -> Encoder:
    """What the recipe's texts are read by."""
    if recipe.text.encoder is None:
        if words is not None:
            return WordEncoder(words=words, size=recipe.text.size)
        own = _words(data)
        known = trained_words(recipe)  # kept, that nothing is forgotten; adapters are made for a model and its words
        new = [] if recipe.start.trains == "lora" and known else [word for word in own if word not in known]
        return WordEncoder(words=[*known, *new], size=recipe.text.size)
    empty = torch.get_default_device().type == "meta"
    found: Encoder
    if has_transformer(recipe.text.encoder) or is_xl(recipe.text.encoder):
        found = load_prompts(read_folder(recipe.text.encoder), captions=True, empty=empty)
    else:
        found = load_text_encoder(recipe.text.encoder, empty=empty)
    if found.size != recipe.text.size:
        raise InputError(
            f"recipe key text.size is {recipe.text.size}, but the text encoder {recipe.text.encoder} has embeddings of "
            f"size {found.size}; set text.size={found.size}"
        )
    return found


def _check_made(data: Dataset, recipe: Recipe, space: Pixels | Latents, text_encoder: Encoder) -> None:
    """Raise InputError where data were encoded by another autoencoder or text encoder than the recipe's."""
    made: Encoding | None = getattr(data, "made", None)
    if made is None:
        return
    own = "none" if space.vae is None else fingerprint(space.vae)
    if made.autoencoder is not None and own != made.autoencoder:
        raise InputError(
            f"the data were encoded by the autoencoder with the fingerprint {made.autoencoder}, but that of recipe key "
            f"network.autoencoder ({recipe.network.autoencoder}) is {own}"
        )
    # a text encoder that learns words makes its own embeddings
    if made.text is not None and isinstance(text_encoder, FrozenText) and text_encoder.fingerprint() != made.text:
        raise InputError(
            f"the data's texts were encoded by the text encoder with the fingerprint {made.text}, but that of recipe "
            f"key text.encoder ({recipe.text.encoder}) is {text_encoder.fingerprint()}"
        )


def _words(data: Dataset) -> list[str]:
    """The words that the data say they have, or every word of their captions; "clip" where there is none.

    So that there is something to type.
    """
    if known := getattr(data, "words", ()):
        return list(known)
    captions: Sequence[str] = getattr(data, "captions", ())
    return sorted({word for caption in captions for word in split_words(caption)}) or ["clip"]


def _some_clips(data: Dataset, space: Space) -> Iterator[Tensor]:
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
