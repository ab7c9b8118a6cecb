"""Sampling options beside the sampler, its steps and the guidance scale."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from videofusion.diffusion.grids import check_spacing
from videofusion.diffusion.samplers import SAMPLERS, get_sampler
from videofusion.errors import InputError, unknown


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Options of sampling; each is at rest by default.

    Args:
        spacing: where the sampler stops, a key of `SPACINGS`; see `times`.
        eta: of "ddim": how much of each step's noise is fresh, in [0, 1].
        gamma: of "ddpm" and "langevin": where the noise's variance lies between its bounds, in [0, 1].
        delta: of "langevin": part of the noise's power that a correction exchanges, in [0, 1].
        rescale: of guidance: how much of the unguided contrast is restored, in [0, 1]; see `ClassifierFree`.
        threshold: of guidance: quantile of |x0| that is brought back to 1, in [0, 1]; 0 is without. For models in
            pixels.

    Raises:
        InputError: an unknown spacing, or a number outside its range.
    """

    spacing: str = "trailing"
    eta: float = 0.0
    gamma: float = 0.0
    delta: float = 0.1
    rescale: float = 0.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _check(name, value)

    def turned(self, given: Mapping[str, Any], sampler: str) -> SamplingOptions:
        """These options with some in place of theirs.

        Args:
            given: values by name.
            sampler: that is to read them, a key of `SAMPLERS`.

        Raises:
            InputError: no such option, one that this sampler does not read, or a value outside its range.
        """
        get_sampler(sampler)
        names = [each.name for each in fields(self)]
        for name, value in given.items():
            if name not in names:
                raise unknown("sampler option", name, names)
            readers = _readers(name)
            if readers and sampler not in readers:
                raise InputError(
                    f"{name} is {value!r}, which the sampler {sampler!r} does not read; {' and '.join(readers)} would"
                )
            _check(name, value)
        return replace(self, **given)

    def of_sampler(self, sampler: str) -> dict[str, float]:
        """Those that a sampler takes as arguments, by name."""
        return {name: value for name, value in vars(self).items() if sampler in _readers(name)}


def _check(name: str, value: Any) -> None:
    """Raise InputError unless an option can have this value, of whatever kind it is."""
    if name == "spacing":
        check_spacing(value)
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1):
        raise InputError(f"{name} is {value!r}; it must be a number in [0, 1]")


def _readers(option: str) -> list[str]:
    """The samplers that take an option as an argument; none where the grid or guidance takes it."""
    return [name for name, sampler in SAMPLERS.items() if option in inspect.signature(sampler).parameters]


def read_options(items: Sequence[str]) -> dict[str, Any]:
    """Options by name from items such as "spacing=flow" and "eta=0.5".

    Raises:
        InputError: an item that is none of a name and a value.
    """
    found: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not value.strip():
            raise InputError(f"sampler option is {item!r}; it must be NAME=VALUE, as in spacing=flow")
        if name.strip() in found:
            raise InputError(f"sampler option {name.strip()} is given twice")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found
