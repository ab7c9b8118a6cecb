"""What a pipeline saves beside its parts, and the constructor that diffusers makes it by again."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from diffusers import DiffusionPipeline

from videofusion.diffusion.guidance import check_times_and_skip
from videofusion.diffusion.options import SamplingOptions


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """What a pipeline saves beside its networks; a system's own settings are in a class below this one.

    Args:
        schedule: by name.
        frames: of a clip by default; 1 for an image model.
        height: in pixels by default.
        width: in pixels by default.
        guidance: scale by default.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]; see `ClassifierFree`.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]; likewise.
        sampler: by default, a key of `SAMPLERS`.
        sampler_options: by default, those of `SamplingOptions` that are not as there, by name.
        data: what it was trained on, as a recipe names it; "" if not known.

    Raises:
        InputError: a value that no pipeline can have.
    """

    schedule: str = "cosine"
    frames: int = 16
    height: int = 32
    width: int = 32
    guidance: float = 2.0
    guidance_interval: list[float] | tuple[float, ...] = (0.0, 1.0)  # diffusers reads a union
    guidance_skip: float = 0.0
    sampler: str = "dpm++"
    sampler_options: dict[str, Any] | None = None
    data: str = ""

    def __post_init__(self) -> None:
        check_times_and_skip(self.guidance_interval, self.guidance_skip)
        SamplingOptions().turned(self.sampler_options or {}, self.sampler)
        object.__setattr__(self, "guidance_interval", list(self.guidance_interval))
        object.__setattr__(self, "sampler_options", dict(self.sampler_options or {}))


def constructor(parts: Mapping[str, Any], settings: type[PipelineSettings]) -> Callable[..., None]:
    """The constructor of a pipeline, with the signature that diffusers reads: an argument for each part and setting.

    Args:
        parts: their types by name; those that may be None come last, and are None by default.
        settings: by keyword.
    """
    hints = typing.get_type_hints(settings)
    kinds = {each.name: hints[each.name] for each in fields(settings)}
    arguments = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name in sorted(parts, key=lambda part: may_be_none(parts[part])):
        default = None if may_be_none(parts[name]) else inspect.Parameter.empty
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        arguments.append(inspect.Parameter(name, positional, default=default, annotation=parts[name]))
    for each in fields(settings):
        keyword = inspect.Parameter.KEYWORD_ONLY
        arguments.append(inspect.Parameter(each.name, keyword, default=each.default, annotation=kinds[each.name]))
    signature = inspect.Signature(arguments)

    def construct(self: Any, *given: Any, **named: Any) -> None:
        DiffusionPipeline.__init__(self)
        bound = signature.bind(self, *given, **named)
        bound.apply_defaults()
        found = settings(**{name: bound.arguments[name] for name in kinds})
        self.register_modules(**{name: bound.arguments[name] for name in parts})
        self.register_to_config(**vars(found))
        self.check()

    construct.__signature__ = signature  # type: ignore[attr-defined]
    construct.__annotations__ = {**parts, **kinds}
    construct.__name__ = "__init__"
    return construct


def may_be_none(kind: Any) -> bool:
    """Whether a type is a union with None."""
    return type(None) in typing.get_args(kind)
