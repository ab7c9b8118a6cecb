"""What training asks of a system, and what every system's training steps and pipelines are told alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.keys import Stream, uniform
from videofusion.networks.autoencoder import Pixels, Space
from videofusion.recipes.system_config import SystemConfig


@dataclass(frozen=True)
class Losses:
    """What a training step minimises, and what a log shows.

    Args:
        total: scalar.
        parts: scalars by name.
        per_clip: [b], which names the clips of a loss that is not a number.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    per_clip: Tensor


@runtime_checkable
class System(Protocol):
    """A system of video diffusion in training: its networks, what of them learns, its loss, the pipeline it becomes."""

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The trained parts by name."""

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """Parts that are never trained, and in no checkpoint: what the recipe names, or its seed, has their weights."""

    @property
    def space(self) -> Space:
        """Where the clips of its loss live."""

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The trained parameters with their peak learning rates, as an optimiser takes them.

        Args:
            lr: the recipe's.
        """

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The loss of a batch, a function of its arguments and the weights alone.

        Args:
            batch: clips with what is known about them, in `space`.
            keys: of all randomness, one for each clip.
            step: of the training.
            progress: of the run, in [0, 1].
        """

    def pipeline(self) -> Any:
        """The pipeline with the present weights."""


class SystemClass(Protocol):
    """What `register_system` takes: a class of systems that recipes can name.

    Attributes:
        Config: the keys that only this system has.
        Pipeline: the `VideoPipeline` that its systems become.
    """

    Config: ClassVar[type[SystemConfig]]
    Pipeline: ClassVar[type]

    @classmethod
    def build(cls, config: Any, parts: Any) -> System:
        """A system with fresh weights, or those that its parts start from.

        Args:
            config: an instance of `Config`.
            parts: what the rest of the recipe and the data give, `systems.build.Parts`.

        Raises:
            InputError: what does not go together.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a training step looks at, and how it weighs the errors: the same for every system.

    Args:
        weighting: of the errors, see `frame_errors`; eq. 14 of VideoFusion is printed with "eps".
        caption_dropout: probability that a clip is trained without its caption.
        train_frames: frames of a clip that a step looks at, the middle one among them; all when None.
        reach: how far from the middle frame they may be; as far as the clip goes when None.
        reach_share: share of the run in which that grows evenly to the whole clip; 0 when it stays.
        time_logit: mean and standard deviation of log(t / (1 - t)), which is normal then (Esser et al. 2024, sec. 3.1);
            times are uniform when empty.
    """

    weighting: str = "v"
    caption_dropout: float = 0.1
    train_frames: int | None = None
    reach: int | None = None
    reach_share: float = 0.0
    time_logit: Sequence[float] = ()

    def times(self, keys: Keys, step: int) -> Tensor:
        """Times of a step's clips [b] in (0, 1), functions of the clips' keys and the step only.

        Args:
            keys: of the clips.
            step: of the training.
        """
        # no clip at exactly no noise or no signal: both ends teach nothing
        t = 0.001 + 0.998 * uniform(keys.content, Stream.TIME, step)
        if self.time_logit:
            mean, deviation = self.time_logit
            t = (mean + deviation * torch.special.ndtri(t)).sigmoid().clamp(0.001, 0.999)
        return t.float()

    def frames(self, count: int, step: int, progress: float = 1.0) -> list[int]:
        """The frames that a step looks at: the middle one stays the middle one, others are drawn on both sides.

        Frames of one clip teach much the same, so looking at some of them in more clips learns more in the same time.
        And those near the middle one are nearly what it is: to bring things over from it is learned there first.
        Every eighth step looks at all that are within reach, as sampling does.

        Args:
            count: frames of the clips.
            step: of the training.
            progress: of the run, in [0, 1].
        """
        middle, reach, few = base_frame(count), self.reach, self.train_frames
        if reach is not None and self.reach_share:
            reach += int(max(0, middle - reach) * progress / self.reach_share + 1e-9)
        near = [i for i in range(count) if reach is None or abs(i - middle) <= reach]
        if few is None or few >= len(near) or step % 8 == 0:
            return near
        numbers = uniform(range(count), Stream.FRAMES, step).tolist()  # the same frames of every clip
        before = sorted((i for i in near if i < middle), key=numbers.__getitem__)[: base_frame(few)]
        after = sorted((i for i in near if i > middle), key=numbers.__getitem__)[: few - 1 - base_frame(few)]
        return sorted([*before, middle, *after])


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """How a system's pipeline samples unless it is told otherwise: the same for every system.

    Args:
        guidance: scale; 1 is off.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]; see `ClassifierFree`.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]; likewise.
        sampler: a key of `SAMPLERS`.
        sampler_options: those of `SamplingOptions` that are not as there, by name.
        data: what it was trained on, as a recipe names it, so that a measure finds its real clips; "" if not known.
    """

    guidance: float = 2.0
    guidance_interval: Sequence[float] = (0.0, 1.0)
    guidance_skip: float = 0.0
    sampler: str = "dpm++"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every system takes from its recipe, whatever it is.

    Args:
        shape: frames, height and width of the clips, which the pipeline makes by default.
        space: where they live.
        schedule: by name.
        prediction: what networks predict.
        train_text: train a text encoder that learns its words; not with a fixed network that was trained with it.
        options: of a training step.
        sampling: how the pipeline samples by default.
    """

    shape: tuple[int, int, int]
    space: Space = field(default_factory=Pixels)
    schedule: str = "cosine"
    prediction: str = "v"
    train_text: bool = True
    options: StepOptions = field(default_factory=StepOptions)
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)

    def settings(self) -> dict[str, Any]:
        """Those that every pipeline saves, as `PipelineSettings` has them."""
        frames, height, width = self.shape
        return {"schedule": self.schedule, "frames": frames, "height": height, "width": width, **vars(self.sampling)}
