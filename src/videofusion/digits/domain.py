"""Moving digits as domains: on plain grounds, and over photographs. Light to import; drawing and measuring are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from videofusion.domains import Domain
from videofusion.errors import InputError

if TYPE_CHECKING:
    from videofusion.digits.comparison import DigitsMeasure
    from videofusion.digits.moving_digits import MovingDigits
    from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
    from videofusion.evaluation.protocols import Metric, Preset
    from videofusion.recipes.recipe import Recipe

GROUNDS_OF = {"moving-digits": "plain", "digits-over-photos": "photos"}  # the two domains by name

# From the kinds of data on plain grounds to the same over photographs.
OVER_PHOTOS = {
    "moving-digits": "digits-over-photos",
    "static-digits": "static-over-photos",
    "middle-digits": "middle-over-photos",
    "digit-crops": "crops-over-photos",
}
_PLAIN = {over: kind for kind, over in OVER_PHOTOS.items()}


def domains() -> tuple[Domain, ...]:
    """Both domains."""
    return tuple(
        Domain(
            name=name,
            kinds=tuple(kinds),
            dataset=_dataset,
            still={kinds[0]: kinds[2]},
            like=partial(on_grounds_of, domain=name),
            about=_about,
            measure=partial(_measure, grounds=GROUNDS_OF[name]),
            rates=("digit", "colour", "direction", "same ends"),
            shares=("place_kept",),
            **(_measured() if name == "moving-digits" else {}),
            recipes=_recipes if name == "moving-digits" else dict,
            words=_words if name == "moving-digits" else tuple,  # there was one domain when models did not say theirs
        )
        for name, kinds in (("moving-digits", [*OVER_PHOTOS]), ("digits-over-photos", [*_PLAIN]))
    )


def on_grounds_of(kind: str, domain: str) -> str:
    """The kind of data that shows what `kind` shows on the grounds of a domain: stills of it for stills.

    Args:
        kind: of a recipe's data.
        domain: "moving-digits" or "digits-over-photos".
    """
    kind = domain if kind == "folder" else _PLAIN.get(kind, kind)
    return OVER_PHOTOS.get(kind, kind) if domain == OVER_PHOTOS["moving-digits"] else kind


def grounds_of(model: str, data: str | None) -> str:
    """What is behind the digits that a model is judged on, "plain" or "photos".

    Args:
        model: its folder or name.
        data: the domain, where it is told; the model's own otherwise.

    Raises:
        InputError: it is not told, and the model is not known to make digits.
    """
    from videofusion.evaluation.model_domain import domain_of

    domain = domain_of(model) if data is None else data
    if domain not in GROUNDS_OF:
        raise InputError(
            f"data is not given, and {model} is not known to make moving digits; --data with "
            f"{' or '.join(GROUNDS_OF)} judges it as if it did"
        )
    return GROUNDS_OF[domain]


def _dataset(recipe: Recipe, split: str) -> MovingDigits:
    from videofusion.digits.moving_digits import MovingDigits

    clips = recipe.clips
    kind, grounds = _PLAIN.get(clips.kind, clips.kind), "photos" if clips.kind in _PLAIN else "plain"
    options: dict[str, Any] = {"split": split, "two_digits": clips.two_digits, "grounds": grounds}
    if kind in ("middle-digits", "digit-crops"):
        if clips.frames != 1:
            raise InputError(
                f"recipe key clips.frames is {clips.frames}, but the data {clips.kind} have 1 of each clip"
            )
        if kind == "digit-crops":
            if not 16 <= clips.size <= 32:
                raise InputError(
                    f"recipe key clips.size is {clips.size}, but must be in [16, 32] for the data {clips.kind}"
                )
            return MovingDigits(only_middle=True, crop=clips.size, **options)
        return MovingDigits(size=clips.size, only_middle=True, **options)
    grey = kind == "static-digits"
    return MovingDigits(clips.frames, clips.size, static=grey, grey=grey, **options)


def _about(recipe: Recipe) -> tuple[str, ...]:
    return (f"{recipe.clips.two_digits:g} of two digits",)


def _measure(clips: int, frames: int, grounds: str) -> DigitsMeasure:
    from videofusion.digits.comparison import DigitsMeasure

    return DigitsMeasure(clips, frames, grounds=grounds)


def _measured() -> dict[str, Any]:
    """The judge's network among the feature networks, for clips on any grounds."""
    return {"extractors": {"digits": _extractor}, "metrics": _metrics, "protocols": _protocols}


def _extractor(name: str) -> NetworkExtractor:
    from videofusion.digits.extractor import DigitsExtractor

    return DigitsExtractor.load(name)


def _metrics() -> tuple[Metric, ...]:
    from videofusion.evaluation.metric_table import of_frames
    from videofusion.evaluation.protocols import Metric

    return (
        *of_frames("digits", "frames"),
        Metric(name="digits-diversity", kind="diversity", extractor="digits", layer="course"),
    )


def _protocols() -> tuple[Preset, ...]:
    from videofusion.evaluation.metric_table import distances
    from videofusion.evaluation.protocols import NOT_COMPARABLE, Preset

    return (
        Preset(
            name="digits",
            source="docs/evaluation.md: the judge's network that ships with the package, for moving digits only",
            metrics=distances("digits", "consistency", "course"),
            split="all",
            count=512,
            real_count=512,
            size=32,
            note=NOT_COMPARABLE,
        ),
    )


def _recipes() -> Mapping[str, Callable[[], Recipe]]:
    from videofusion.digits.digit_recipes import RECIPES

    return RECIPES


def _words() -> tuple[str, ...]:
    from videofusion.digits.words import WORDS

    return tuple(WORDS)
