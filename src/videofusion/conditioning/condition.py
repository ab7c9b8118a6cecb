"""Conditions: their values in training and at sampling, their null values, and how they enter a network.

A system lists its conditions; its loss, its pipeline and guidance ask the list. To add one, write a class below
`Condition` in a file of its own, and put it in a system's list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError, unknown

Kind = Literal["embedding", "tokens", "beside", "residuals", "none"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training step, as conditions see it.

    Args:
        number: of the step.
        frames: of the clips that it looks at, by number.
        dropout: probability that a clip goes without a condition, so that a model can do without it.
    """

    number: int
    frames: Sequence[int]
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for clips, as conditions see it.

    Args:
        shape: of the batch where it is made, [b t c h w].
        device: of what conditions return.
        keys: of the clips.
        guidance: scale, 1 is off.
        known: frames that are given, b of each, where the clips are made.
        prompts: of the clips, for what reads them by itself.
        negative: what guidance leads away from; the empty text when None.
        told: what the conditions before this one in the list have said.
        draw: samples (denoiser, frames, conditions, what of the frames is given) to a clip, as the caller asked for it.
    """

    shape: tuple[int, int, int, int, int]
    device: torch.device
    keys: Keys
    guidance: float = 1.0
    known: Known | None = None
    prompts: Sequence[str] = ()
    negative: str | None = None
    told: Conditions = field(default_factory=Conditions)
    draw: Callable[[Denoiser, int, Conditions, Known | None], Tensor] | None = None


class Condition:
    """A condition of the network beside the noisy clip and the time.

    Attributes:
        name: of the field of `Conditions` that it fills, which guidance names.
        kind: how it enters the network: "embedding" (added to the time's), "tokens" (that it attends to), "beside"
            (channels next to the noisy frame's), "residuals" (added within, as ControlNet's), or "none" for what no
            network is told.
        option: the keyword of a pipeline's call that gives its value; "" where none does.
        guided: whether a pipeline's guidance scale is that of this condition too.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    option: ClassVar[str] = ""
    guided: ClassVar[bool] = False

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Parts of its own that are trained with the system, by name."""
        return {}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """Parts of its own that are never trained, by name."""
        return {}

    @property
    def components(self) -> dict[str, Any]:
        """What a pipeline saves of it: its parts, and what belongs to them."""
        return {**self.modules, **self.frozen}

    def network(self, colours: int) -> dict[str, Any]:
        """Keywords of the `UNet` that takes this condition.

        `in_channels` are those beside the frame's own, and are added up; so are `numbers`, and names of `inputs`.

        Args:
            colours: channels of a frame.
        """
        return {}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        """The condition of a batch of training clips.

        Args:
            batch: the clips, with all of their frames.
            keys: of all randomness, one for each clip.
            step: what it looks at.

        Returns:
            the condition's own fields, with their null values.
        """
        raise NotImplementedError

    def check(self, value: Any) -> Sequence[str]:
        """Check a user's value before any work.

        Args:
            value: as it was given.

        Returns:
            warnings.

        Raises:
            InputError: the condition cannot have this value.
        """
        return ()

    def sample(self, value: Any, request: Request) -> Conditions:
        """The condition for a value that a user gives.

        Args:
            value: that was checked; None where none is given.
            request: the clips.

        Returns:
            as `train`.
        """
        raise NotImplementedError


_SIDE_BY_SIDE = {"beside": 2, "numbers": 1}  # fields that several conditions fill, with the axis of their parts


def together(parts: Iterable[Conditions]) -> Conditions:
    """What several conditions say as one: what is beside the frame, and numbers, side by side, in order.

    Args:
        parts: of one batch, each with fields of its own.

    Raises:
        InputError: two of them fill one field.
    """
    values: dict[str, Any] = {}
    for part in parts:
        for each in fields(Conditions):
            value, before = getattr(part, each.name), values.get(each.name)
            if value is None or (each.name == "temporal" and value == each.default):
                continue
            if isinstance(value, Mapping):  # null values, and inputs of networks that have no field
                values[each.name] = {**(before or {}), **_side_by_side(before or {}, value)}
            elif before is not None and each.name not in _SIDE_BY_SIDE:
                raise InputError(f"two conditions tell {each.name}; a system can have one of them")
            else:
                axis = _SIDE_BY_SIDE.get(each.name, 0)
                values[each.name] = value if before is None else torch.cat([before, value], dim=axis)
    return Conditions(**values)


def _side_by_side(before: Mapping[str, Any], null: Mapping[str, Any]) -> dict[str, Any]:
    both = "beside" in before and "beside" in null
    return {**null, **({"beside": torch.cat([before["beside"], null["beside"]], dim=2)} if both else {})}


def network_inputs(conditions: Sequence[Condition], colours: int) -> dict[str, Any]:
    """Keywords of the `UNet` that takes these conditions.

    Args:
        conditions: of a system.
        colours: channels of a frame.
    """
    found: dict[str, Any] = {"in_channels": colours}
    for condition in conditions:
        for name, value in condition.network(colours).items():
            found[name] = (
                found[name] + value if name in ("in_channels", "inputs", "numbers") and name in found else value
            )
    return found


def told_in_training(conditions: Sequence[Condition], batch: Batch, keys: Keys, step: Step) -> Conditions:
    """The conditions of a batch of training clips."""
    return together(condition.train(batch, keys, step) for condition in conditions)


def checked(conditions: Sequence[Condition], values: Mapping[str, Any]) -> list[str]:
    """Look at what a user asks a pipeline for.

    Args:
        conditions: of its system.
        values: by option; None is not given.

    Returns:
        warnings.

    Raises:
        InputError: a value that a condition refuses, or for which the system has no condition.
    """
    options = {condition.option: condition for condition in conditions if condition.option}
    warned: list[str] = []
    for option, value in values.items():
        if value is None:
            continue
        if option not in options:
            if option in NOT_TOLD:
                said = "given" if isinstance(value, Tensor) else value
                raise InputError(f"{option} is {said}; {NOT_TOLD[option]}, leave it out")
            raise unknown("option of sampling", option, options)
        warned += options[option].check(value)
    return list(dict.fromkeys(warned))


# Options of the package's own conditions: why a model may have none.
NOT_TOLD = {
    "fps": "this model was trained at one rate and takes none",
    "motion": "only VideoFusion models have that knob",
    "label": "this model was trained on no classes",
    "image": "this model makes clips of texts, not of a first picture",
    "image_noise": "this model makes clips of texts, not of a first picture",
    "share": "only shared-noise on an image model has that option",
}


def told_by_user(conditions: Sequence[Condition], values: Mapping[str, Any], request: Request) -> Conditions:
    """The conditions of the clips that a user asks for; each condition sees the values of those before it."""
    told = Conditions()
    for condition in conditions:
        said = condition.sample(values.get(condition.option), replace(request, told=told))
        told = together([told, said])
    return told
