"""From prompts to clips: the one pipeline, which every system's is a kind of.

A call is `prepare` (all that can be refused, what the networks are told, the noise to start from), `run` (the sampler,
from any noisy clip along any times) and `decode`. Tasks use these parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from videofusion.conditioning.condition import Condition, Request, checked, told_by_user
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.prompt_encoder import TextEncoders
from videofusion.conditioning.text import WordEncoder
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.editing import Beginning, Start
from videofusion.diffusion.grids import times
from videofusion.diffusion.guidance import ClassifierFree, Term, scale_of
from videofusion.diffusion.known import Following, Known
from videofusion.diffusion.noise import NoiseSource, base_frame, bind
from videofusion.diffusion.options import SamplingOptions
from videofusion.diffusion.samplers import get_sampler
from videofusion.diffusion.samplers.loop import Progress
from videofusion.diffusion.schedules import Schedule, make_schedule
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.systems.memory_savers import MemorySavers
from videofusion.systems.prepared import NO_HOOKS, Hooks, Prepared
from videofusion.systems.request import (
    MOST_STEPS,
    SamplingRequest,
    Shape,
    check_known,
    check_size,
    encode_known,
    guidance_terms,
    keys_of,
)
from videofusion.systems.saved import PipelineSettings, constructor, may_be_none


class VideoPipeline(MemorySavers):
    """A trained system, ready to be asked for clips; saves and loads as any diffusers pipeline.

    A subclass names its parts and its settings; its constructor takes both by name, the parts also in their order.
    diffusers looks a pipeline's arguments up in the signature of its constructor, which is written from them.

    Attributes:
        PARTS: networks and the like by name, with their types; one that may be None is optional.
        Settings: the rest of what it saves.
        any_length: whether clips may have more frames than the model's own number.
    """

    PARTS: ClassVar[Mapping[str, Any]] = {}
    Settings: ClassVar[type[PipelineSettings]] = PipelineSettings
    any_length: ClassVar[bool] = False

    text_encoder: Any
    tokenizer: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__init__ = constructor(cls.PARTS, cls.Settings)  # type: ignore[method-assign]
        cls._optional_components = [name for name, kind in cls.PARTS.items() if may_be_none(kind)]

    def check(self) -> None:
        """Raise InputError where parts and settings do not go together."""

    @property
    def text(self) -> WordEncoder | FrozenText | TextEncoders:
        """The text encoder, whichever kind it is."""
        return self.text_encoder if self.tokenizer is None else FrozenText(self.text_encoder, self.tokenizer)

    @property
    def networks(self) -> list[FrameNetwork]:
        """The networks that see frames."""
        raise NotImplementedError

    @property
    def conditions(self) -> Sequence[Condition]:
        """What the system is conditioned on, in order."""
        raise NotImplementedError

    @property
    def takes_fps(self) -> bool:
        """Whether it takes frames per second: it was trained on clips of several rates."""
        return any(condition.option == "fps" for condition in self.conditions)

    @property
    def overlap(self) -> int:
        """Frames that a clip which goes on is given unless told otherwise: so many that the middle one is the last."""
        return base_frame(self.config.frames) + 1

    @classmethod
    def networks_take_turns(cls, settings: Mapping[str, Any]) -> bool:
        """Whether each of its networks takes all of its steps before the next one begins.

        Args:
            settings: of a saved pipeline.
        """
        return False

    def denoiser(self) -> Denoiser:
        """The system as one denoiser, without guidance."""
        raise NotImplementedError

    def noise_source(self) -> NoiseSource:
        """Where a sample's noise comes from."""
        raise NotImplementedError

    def grid(
        self,
        schedule: Schedule,
        steps: int,
        options: SamplingOptions,
        size: tuple[int, int],
        covariance: Tensor | None = None,
    ) -> Tensor:
        """The sampler's times.

        Args:
            schedule: of the denoiser.
            steps: of the sampler.
            options: of sampling.
            size: height and width where the clips are made.
            covariance: of the noise over frames [t t].

        Raises:
            InputError: see `times`.
        """
        return times(schedule, steps, spacing=options.spacing, covariance=covariance)

    def check_known(self, places: Sequence[int], frames: int) -> None:
        """Raise InputError unless the system can have clips of so many frames follow from those at these places."""

    def frames_guidance(self, guidance: float) -> float:
        """The scale of the frames of a clip, where that of what conditions sample is `guidance`; 1 is off."""
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
        return next(iter(checked(self.conditions, {"prompt": [prompt]})), None)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] = "",
        *,
        output: str = "clip",
        progress: Progress | None = None,
        **asked: Any,
    ) -> Tensor:
        """Make clips.

        Args:
            prompt: a text, or one for each clip; models without a text encoder need none.
            output: "clip", or "latent" for what `decode` makes clips of: then nothing is lost where that fails.
            progress: wraps the steps, as tqdm does.
            asked: seed, motion_seed, frames, height, width, steps, sampler, sampler_options, guidance, known, start,
                negative, and what the system's conditions take, such as motion and fps; see `prepare`.

        Returns:
            [b t c h w] in [-1, 1], or [t c h w] when the prompt is one text; latents have their own c, h and w.

        Raises:
            InputError: anything outside what is said above, or in `prepare`.
        """
        if output not in ("clip", "latent"):
            raise InputError(f'output is {output!r}; it must be "clip" or "latent"')
        hooks = Hooks(progress=progress)
        made = self.run(self.prepare(prompt, hooks=hooks, **asked), hooks=hooks)
        made = made[0] if isinstance(prompt, str) else made
        made = made if output == "latent" else self.decode(made)
        self.maybe_free_model_hooks()
        return made

    @torch.no_grad()
    def prepare(
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
        guidance: float | Mapping[str, float] | None = None,
        known: Known | None = None,
        start: int = 0,
        beginning: Beginning | None = None,
        negative: str | None = None,
        around: Callable[[Denoiser], Denoiser] = lambda denoiser: denoiser,
        hooks: Hooks = NO_HOOKS,
        **values: Any,
    ) -> Prepared:
        """Check what is asked for, and bring together what makes it.

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
                for how things move keeps that, unless this is 1. Or scales by the names of conditions, as {"text": 4.0,
                "beside": 1.5}, each beyond what is left without the ones before it; see `ClassifierFree`.
            known: frames that are given; the others are made to follow from them.
            start: number of the first frame in a longer video that the clip is a part of, at least 0: frames of equal
                numbers have equal residual noise.
            beginning: what sampling begins from, of a clip that there is (`diffusion.editing`); noise by default.
            negative: what guidance leads away from, for all clips; nothing by default.
            around: puts something around the system's denoiser, within guidance.
            hooks: for what is sampled before the clip itself, such as a middle frame that it is made around.
            values: of the system's conditions, by their options: motion, from 0 (as little as training clips had) to 1
                (as much), by default the model's fixed share; fps, frames per second of what happens in the clip, for
                models trained at several rates, by default any of them.

        Raises:
            InputError: anything outside what is said above.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        shape = self._shape(len(prompts), frames, height, width)
        self._check_told(prompts, negative, values)
        guidance = self.config.guidance if guidance is None else guidance
        scales = self._scales(guidance)
        if start < 0:
            raise InputError(f"start is {start}; it must be a frame's number, at least 0")
        known = None if known is None else self._known(known, shape)
        if steps > MOST_STEPS:
            raise InputError(f"steps is {steps}; at most {MOST_STEPS} can be asked for")
        sampler = self.config.sampler if sampler is None else sampler
        get_sampler(sampler)
        options = self.options(sampler, sampler_options or {})
        self.grid(make_schedule(self.config.schedule), steps, options, shape[-2:])  # refuses what cannot be
        asked = SamplingRequest(
            shape=shape,
            keys=keys_of(seed, motion_seed, len(prompts)),
            start=start,
            steps=steps,
            sampler=sampler,
            options=options,
            beginning=beginning,
        )

        def draw(denoiser: Denoiser, count: int, told: Conditions, given: Known | None = None) -> Tensor:
            return self.run(self._prepared(denoiser, told, scales, given, count, asked), hooks=hooks)

        clips = Request(
            shape=shape,
            device=self.where,
            keys=asked.keys,
            guidance=scale_of(scales, "image_embedding", "text"),
            known=known,
            prompts=prompts,
            negative=negative,
            draw=draw,
        )
        told = told_by_user(self.conditions, {"prompt": prompts, **values}, clips)
        frames_scales = scales if isinstance(guidance, Mapping) else self._scales(self.frames_guidance(guidance))
        return self._prepared(around(self.denoiser()), told, frames_scales, known, shape[1], asked)

    def _check_told(self, prompts: Sequence[str], negative: str | None, values: Mapping[str, Any]) -> None:
        """Warn of what conditions do not know; InputError for what they refuse."""
        if not prompts:
            raise InputError("prompt is an empty list; it must hold at least one text")
        texts = [each for each in self.conditions if (each.name, each.option) == ("text", "prompt")]
        if negative is not None and not texts:
            raise InputError(f"negative is {negative!r}; this model takes no text, leave it out")
        told: list[Mapping[str, Any]] = [{"prompt": prompts, **values}]
        if negative is not None and negative.strip():
            told.append({"prompt": [negative]})
        for message in (message for each in told for message in checked(self.conditions, each)):
            warnings.warn(message, UserWarning, stacklevel=4)  # of who called `prepare`, past `no_grad`

    def _scales(self, guidance: float | Mapping[str, float]) -> list[Term]:
        """The terms of guidance, that of the prompt first where it is a number; InputError for scales that are none."""
        return guidance_terms(guidance, self.conditions)

    def _prepared(
        self,
        denoiser: Denoiser,
        told: Conditions,
        terms: list[Term],
        known: Known | None,
        count: int,
        request: SamplingRequest,
    ) -> Prepared:
        """A batch of clips of `count` frames, all else as it was asked for."""
        schedule, source, options = make_schedule(self.config.schedule), self.noise_source(), request.options
        clips, _, *size = request.shape
        numbers = range(request.start, request.start + count)
        guided: Denoiser = ClassifierFree(
            denoiser,
            terms,
            rescale=options.rescale,
            threshold=options.threshold or None,
            interval=self.config.guidance_interval,
            skip=self.config.guidance_skip,
        )
        covariance = source.covariance(told.share, numbers)
        # one grid for the batch, whose clips have one share; a middle frame that is told tells the base noise
        shared = covariance[0] if told.middle_frame is None else None
        if known is not None:
            guided = Following(guided, known, covariance.expand(clips, -1, -1))
        prepared = Prepared(
            denoiser=guided,
            conditions=told,
            noise=bind(source, (clips, count, *size), request.keys, told.share, numbers, self.where),
            times=self.grid(schedule, request.steps, options, (size[-2], size[-1]), shared),
            schedule=schedule,
            sampler=partial(get_sampler(request.sampler), **options.of_sampler(request.sampler)),
            known=known,
        )
        if request.beginning is None:
            return prepared
        of = (denoiser, told, prepared.noise, prepared.times, schedule, covariance)
        return replace(prepared, begin=partial(request.beginning, *of))

    @torch.no_grad()
    def run(
        self, prepared: Prepared, z: Tensor | None = None, times: Tensor | None = None, hooks: Hooks = NO_HOOKS
    ) -> Tensor:
        """Sample a batch.

        Args:
            prepared: by `prepare`.
            z: a noisy clip at times[0] to start from [b t c h w]; as it was prepared by default.
            times: [steps + 1] in [0, 1], decreasing; likewise.
            hooks: called on the way.

        Returns:
            [b t c h w], float32, in the range of where the clips live: what `decode` takes.
        """
        times = prepared.times if times is None else times
        half = self.networks[0].dtype  # networks held in it compute in it; others as the caller has them compute
        with nullcontext() if half == torch.float32 else torch.autocast(self.where.type, half):
            if z is None:
                z, times = Start(prepared.noise(0), times) if prepared.begin is None else prepared.begin()
            made = prepared.sampler(
                prepared.denoiser,
                z,
                times,
                schedule=prepared.schedule,
                conditions=prepared.conditions,
                noise=prepared.noise,
                **vars(hooks),
            )
        made = self.space.bounded(made.float())
        if prepared.known is not None and times[-1] == prepared.times[-1]:
            # samplers may end a rounding error from what is kept, and grids a little noise ("sd")
            made = prepared.known.put(made)
        return made

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The clips of what `run`, or a call with output="latent", returned; of a model in pixels, what it is given.

        Args:
            latents: [b t c h w] or [t c h w], on any device.

        Returns:
            float32 in [-1, 1].

        Raises:
            InputError: another shape.
        """
        return self.space.decode(latents.to(self.where))

    def _known(self, known: Known, shape: Shape) -> Known:
        """Known frames where the batch is made, b of each; raises InputError for those that its clips cannot have."""
        check_known(known, shape, self.space.factor)
        self.check_known(known.at, shape[1])
        return encode_known(known, shape[0], self.space, self.where)

    def _shape(self, clips: int, *asked: int | None) -> Shape:
        """Shape of the batch where it is made; raises InputError for sizes that the networks cannot take."""
        config, factor = self.config, self.space.factor
        frames, height, width = (
            own if value is None else value
            for value, own in zip(asked, (config.frames, config.height, config.width), strict=True)
        )
        check_size(frames, height, width, own=config.frames, any_length=self.any_length)
        for network in self.networks:
            network.check_size(height, width, factor)
        return clips, frames, self.networks[0].colours, height // factor, width // factor
