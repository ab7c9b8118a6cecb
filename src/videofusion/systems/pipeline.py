"""From prompts to clips: what every system's pipeline shares."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.text import WordEncoder
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.editing import Beginning, Start
from videofusion.diffusion.grids import times
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.known import Following, Known
from videofusion.diffusion.noise import Keys, NoiseSource, bind
from videofusion.diffusion.options import SamplingOptions
from videofusion.diffusion.samplers import get_sampler
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.networks.autoencoder import Latents, Pixels, space_of
from videofusion.networks.unet import UNet
from videofusion.systems.training import text_conditions

Progress = Callable[[Iterable[int]], Iterable[int]]
LARGEST = 4096  # frames, or pixels of a side, of a clip
MOST_STEPS = 10_000
_TOLD_WORDS = 200  # of those a model knows, in a warning; a large set's captions have a hundred thousand
Draw = Callable[..., Tensor]


class VideoPipeline(DiffusionPipeline):  # type: ignore[misc]
    """A trained system, ready to be asked for clips; saves and loads as any diffusers pipeline.

    Subclasses register their networks, a `text_encoder`, its `tokenizer` or None for a `WordEncoder`, a `vae` or None
    for pixels, and the configuration `schedule`, `frames`, `height`, `width`, `guidance`,
    `guidance_interval`, `guidance_skip`, `sampler`, `sampler_options`.
    """

    text_encoder: Any
    tokenizer: Any = None
    vae: nn.Module | None = None

    @property
    def text(self) -> WordEncoder | FrozenText:
        """The text encoder, whichever kind it is."""
        return self.text_encoder if self.tokenizer is None else FrozenText(self.text_encoder, self.tokenizer)

    @property
    def space(self) -> Pixels | Latents:
        """Where clips live while they are made."""
        return space_of(self.vae)

    @property
    def networks(self) -> list[UNet]:
        """The networks that see frames."""
        raise NotImplementedError

    @property
    def hears_fps(self) -> bool:
        """Whether it is told frames per second: it was trained on clips of several rates."""
        return any(network.config.get("fps", False) for network in self.networks)

    def denoiser(self) -> Denoiser:
        """The system as one denoiser, without guidance."""
        raise NotImplementedError

    def noise_source(self) -> NoiseSource:
        """Where a sample's noise comes from."""
        raise NotImplementedError

    def share(self, clips: int, frames: int, motion: float | None) -> Tensor | None:
        """Lambda per clip and frame for a motion knob, or None for systems without."""
        raise NotImplementedError

    def complete(
        self,
        conditions: Conditions,
        keys: Keys,
        guidance: float,
        draw: Draw,
        known: Known | None = None,
        prompts: Sequence[str] = (),
    ) -> Conditions:
        """Add what a system is told beside text and share; nothing unless a subclass says otherwise.

        Args:
            conditions: text and share.
            keys: of the clips.
            guidance: scale.
            draw: samples (denoiser, frames, conditions) to a clip, as the caller asked for it.
            known: frames that are given, b of each, where the clips are made.
            prompts: of the clips, for what reads them by itself.
        """
        return conditions

    def check_known(self, places: Sequence[int], frames: int) -> None:
        """Raise InputError unless the system can have clips of so many frames follow from those at these places."""

    def frames_guidance(self, guidance: float) -> float:
        """The scale of the frames of a clip, where that of what `complete` samples is `guidance`."""
        return guidance

    def options(self, sampler: str, given: Mapping[str, Any]) -> SamplingOptions:
        """The model's own options of sampling with those given in their place.

        Raises:
            InputError: no such option, one that the sampler does not read, a value outside its range, or a threshold
                for a model in latents, whose values have no range.
        """
        own = SamplingOptions().turned(self.config.sampler_options, self.config.sampler)
        options = own.turned(given, sampler)
        if options.threshold and self.vae is not None:
            raise InputError(
                f"threshold is {options.threshold}; it is for models in pixels, and this one is in latents"
            )
        return options

    def check_prompt(self, prompt: str) -> str | None:
        """Check a prompt.

        Returns:
            a warning about words that the model does not know, listing those it does; None if it knows them all.

        Raises:
            InputError: the prompt is empty or too long.
        """
        self.text.check(prompt)
        unknown = self.text.unknown(prompt)
        if not unknown:
            return None
        words = sorted(self.text.words)
        known = " ".join(words[:_TOLD_WORDS]) + (f" ... ({len(words):,} in all)" if len(words) > _TOLD_WORDS else "")
        return f"this model does not know {', '.join(map(repr, unknown))}; the words it knows are: {known}"

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        motion_seed: int | Sequence[int] | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        steps: int = 20,
        sampler: str | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        motion: float | None = None,
        fps: float | None = None,
        known: Known | None = None,
        start: int = 0,
        beginning: Beginning | None = None,
        output: str = "clip",
        progress: Progress | None = None,
    ) -> Tensor:
        """Make clips.

        Args:
            prompt: a text, or one for each clip.
            seed: of each clip, or of the first: the next have seed + 1, ... It decides content, and motion too unless
                `motion_seed` is given. A clip depends on its seeds, not on the others of its batch.
            motion_seed: of each clip's residual noise: same seed and other motion seed, same content moving otherwise.
            frames: of a clip, at most the model's own number, and that by default; `videofusion.generate` makes longer
                ones.
            height: in pixels; the model's own by default.
            width: in pixels; the model's own by default.
            steps: of the sampler, at least 1.
            sampler: a key of `SAMPLERS`; the model's own by default.
            sampler_options: values of `SamplingOptions` in place of the model's own, as {"spacing": "flow"}.
            guidance: classifier-free guidance scale, 1 = off; the model's own by default. A model that has another one
                for how things move keeps that, unless this is 1.
            motion: from 0 (as little as training clips had) to 1 (as much); the model's fixed share by default.
            fps: frames per second of what happens in the clip, for models trained at several rates; any of them by
                default.
            known: frames that are given; the others are made to follow from them.
            start: number of the first frame in a longer video that the clip is a part of, at least 0: frames of equal
                numbers have equal residual noise.
            beginning: what sampling begins from, of a clip that there is (`diffusion.editing`); noise by default.
            output: "clip", or "latent" for what `decode` makes clips of: then nothing is lost where that fails.
            progress: wraps the steps, as tqdm does.

        Returns:
            [b t c h w] in [-1, 1], or [t c h w] when the prompt is one text; latents have their own c, h and w.

        Raises:
            InputError: anything outside what is said above.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        shape = self._shape(len(prompts), frames, height, width)
        if not prompts:
            raise InputError("prompt is an empty list; it must hold at least one text")
        for message in dict.fromkeys(map(self.check_prompt, prompts)):
            if message is not None:
                warnings.warn(message, UserWarning, stacklevel=2)
        guidance = self.config.guidance if guidance is None else guidance
        if not (math.isfinite(guidance) and guidance >= 0):
            raise InputError(f"guidance is {guidance}; it must be a number of at least 0 (1 is off)")
        if output not in ("clip", "latent"):
            raise InputError(f'output is {output!r}; it must be "clip" or "latent"')
        if fps is not None and not (self.hears_fps and 0 < fps <= 1000):
            raise InputError(
                f"fps is {fps}; it must be above 0 and at most 1000"
                if self.hears_fps
                else f"fps is {fps}; this model was trained at one rate and is told none, leave it out"
            )
        if start < 0:
            raise InputError(f"start is {start}; it must be a frame's number, at least 0")
        if known is not None:
            known = self._known(known, shape)
        if steps > MOST_STEPS:
            raise InputError(f"steps is {steps}; at most {MOST_STEPS} can be asked for")
        sampler = self.config.sampler if sampler is None else sampler
        sample, options = get_sampler(sampler), self.options(sampler, sampler_options or {})
        schedule = make_schedule(self.config.schedule)
        times(schedule, steps, spacing=options.spacing)  # refuses what cannot be
        keys = Keys.of(
            _seeds("seed", seed, len(prompts)),
            None if motion_seed is None else _seeds("motion_seed", motion_seed, len(prompts)),
        )
        share = self.share(shape[0], shape[1], motion)

        device = self.text.device
        conditions = text_conditions(self.text, prompts, share=None if share is None else share.to(device))
        if fps is not None:
            conditions = replace(conditions, fps=torch.full((len(prompts),), float(fps), device=device))

        source = self.noise_source()

        def draw(
            denoiser: Denoiser,
            frames: int,
            told: Conditions,
            guidance: float = guidance,
            known: Known | None = None,
        ) -> Tensor:
            size, numbers = (shape[0], frames, *shape[2:]), range(start, start + frames)
            noise = bind(source, size, keys, told.share, numbers, device)
            guided: Denoiser = ClassifierFree(
                denoiser,
                guidance,
                rescale=options.rescale,
                threshold=options.threshold or None,
                interval=self.config.guidance_interval,
                skip=self.config.guidance_skip,
            )
            covariance = source.covariance(told.share, numbers)
            # one grid for the batch, whose clips have one share; a middle frame that is told tells the base noise
            shared = covariance[0] if told.middle_frame is None else None
            stops = times(schedule, steps, spacing=options.spacing, covariance=shared)
            if known is not None:
                covariance = covariance.expand(shape[0], -1, -1)
                guided = Following(guided, known, covariance)
            half = self.networks[0].dtype  # networks held in it compute in it; others as the caller has them compute
            with nullcontext() if half == torch.float32 else torch.autocast(device.type, half):
                begun = Start(noise(0), stops)
                if beginning is not None:
                    begun = beginning(denoiser, told, noise, stops, schedule)
                return sample(
                    guided,
                    begun.z,
                    begun.times,
                    schedule=schedule,
                    conditions=told,
                    noise=noise,
                    progress=progress,
                    **options.of_sampler(sampler),
                )

        conditions = self.complete(conditions, keys, guidance, draw, known, prompts)
        made = draw(self.denoiser(), shape[1], conditions, self.frames_guidance(guidance), known).float()
        made = self.space.bounded(made)
        if known is not None and known.mask is not None:  # samplers may end a rounding error from what is kept
            made = known.put(made)
        made = made[0] if isinstance(prompt, str) else made
        return made if output == "latent" else self.decode(made)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The clips of what a call with output="latent" returned; of a model in pixels, what it is given.

        Args:
            latents: [b t c h w] or [t c h w], on any device.

        Returns:
            float32 in [-1, 1].

        Raises:
            InputError: another shape.
        """
        return self.space.decode(latents.to(self.text.device))

    def _known(self, known: Known, shape: tuple[int, int, int, int, int]) -> Known:
        """Known frames where the batch is made, b of each; raises InputError for those that its clips cannot have."""
        clips, frames, channels, *size = shape
        wanted = (channels, *size) if known.latent else (3, *(side * self.space.factor for side in size))
        if tuple(known.frames.shape[-3:]) != wanted:
            raise InputError(
                f"known frames are {_times(known.frames.shape[-3:])}; those of the clip are {_times(wanted)} (c, h, w)"
            )
        everything = len(known.at) >= frames and (known.mask is None or not bool(known.mask.any()))
        if max(known.at) >= frames or everything:
            raise InputError(
                f"places of known frames are {list(known.at)}; a clip has {frames} frames, numbered from 0, and one at "
                "least must be left to make"
            )
        self.check_known(known.at, frames)
        given = known.frames.expand(clips, *known.frames.shape) if known.frames.ndim == 4 else known.frames
        if len(given) != clips:
            raise InputError(f"known frames are of {len(given)} clips; they must be of each of {clips}, or of one")
        given, mask = given.to(self.text.device).float(), known.mask
        if mask is not None and mask.ndim == 5 and len(mask) not in (1, clips):
            raise InputError(f"mask is of {len(mask)} clips; it must be of each of {clips}, or of one")
        if known.latent:
            return replace(known, frames=given)
        if mask is not None:  # a place of latents is made anew where any of its pixels is
            mask = max_pool2d(mask.flatten(0, -4).float(), self.space.factor).unflatten(0, mask.shape[:-3]) > 0
        return replace(known, frames=self.space.encode(given), latent=True, mask=mask)

    def _shape(self, clips: int, *asked: int | None) -> tuple[int, int, int, int, int]:
        """Shape of the batch where it is made; raises InputError for sizes that the networks cannot take."""
        config, factor = self.config, self.space.factor
        frames, height, width = (
            own if value is None else value
            for value, own in zip(asked, (config.frames, config.height, config.width), strict=True)
        )
        if frames < 2 and config.frames > 1:
            raise InputError(f"frames is {frames}; a clip must have at least 2")
        if frames != 1 and config.frames == 1:
            raise InputError(f"frames is {frames}; this is an image model, it must be 1")
        if frames > config.frames:
            raise InputError(
                f"frames is {frames}; this model's clips have {config.frames}, and longer ones go on from them: "
                f"videofusion.generate(pipe, prompt, frames={frames}), or videofusion.extend"
            )
        if frames > LARGEST:
            raise InputError(f"frames is {frames}; at most {LARGEST} can be asked for")
        if max(height, width) > LARGEST:
            raise InputError(f"size is {width}x{height}; at most {LARGEST} of each can be asked for")
        for network in self.networks:
            network.check_size(height, width, factor)
        return clips, frames, self.networks[0].config.out_channels, height // factor, width // factor


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _seeds(name: str, seed: int | Sequence[int], count: int) -> list[int]:
    seeds = [seed + i for i in range(count)] if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise InputError(f"{name} has {len(seeds)} entries; it must have one for each of {count} prompts")
    for each in seeds:
        if not (hasattr(each, "__index__") and -(2**63) <= each < 2**64):
            raise InputError(f"{name} is {each!r:.60}; it must be a whole number of at most 64 bits")
    return seeds
