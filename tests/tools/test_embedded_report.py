"""The embedded network on clips that it was not trained on: distances grow with the damage, and not with N.

The fast tests take few clips, of moving digits; `make prove` takes many, and real ones too.
"""

import itertools
import math
from pathlib import Path

import pytest
from torch import Tensor

from tools.distortions import ALL_DISTORTIONS
from tools.embedded_report import (
    COUNTS,
    MOTION,
    OF_FRAMES,
    OF_TIME,
    PROVED,
    QUALITY,
    Clips,
    digit_clips,
    response,
    responses,
    settled,
    video_clips,
)
from videofusion.errors import InputError
from videofusion.evaluation.extractors.embedded import EmbeddedExtractor

HELD_OUT = ("bikes.mp4", "carphone_pristine.mp4", "open_field_mouse.mp4")  # of the scenes; for tests only
KINDS = ("digits", "videos")
# Weak with digits (docs/evaluation.md): quality sees no bend of strokes, and cuts are all as bad to motion from 0.6 on.
WEAK = {"digits": {("warp", QUALITY), ("still warp", QUALITY), ("cut", MOTION)}, "videos": set()}


@pytest.fixture(scope="module")
def extractor() -> EmbeddedExtractor:
    return EmbeddedExtractor.load()


def clips_of(kind: str, count: int, request: pytest.FixtureRequest) -> Clips:
    if kind == "digits":
        return digit_clips(count)
    scenes: Path = request.getfixturevalue("shared_data") / "scenes"
    return video_clips([scenes / name for name in HELD_OUT], count)


@pytest.fixture(scope="module")
def few() -> Clips:
    return digit_clips(48)


@pytest.mark.parametrize("name", PROVED)
def test_distances_grow_with_the_damage(extractor: EmbeddedExtractor, few: Clips, name: str) -> None:
    found = responses(extractor, few, [name])[name]
    assert found[MOTION if name in OF_TIME else QUALITY].spearman >= 0.95
    if name in OF_FRAMES and (name, QUALITY) not in WEAK["digits"]:
        assert found[QUALITY].spearman >= 0.95


def test_the_order_of_frames_is_nothing_to_quality(extractor: EmbeddedExtractor, few: Clips) -> None:
    assert responses(extractor, few, ["shuffle"])["shuffle"][QUALITY].spearman is None


def test_what_trembles_is_further_away_than_what_is_as_bent_but_stands_still(
    extractor: EmbeddedExtractor, few: Clips
) -> None:
    found = responses(extractor, few, ["warp", "still warp"])
    assert found["warp"][MOTION].distances[3] > 2 * found["still warp"][MOTION].distances[3]
    assert found["warp"][QUALITY].distances[3] < 2 * found["still warp"][QUALITY].distances[3]


def test_ranks() -> None:
    assert response([0.1, 1, 2, 3, 4, 5]).spearman == pytest.approx(1.0)
    assert response([0.1, 5, 4, 3, 2, 1]).spearman == pytest.approx(-1.0)
    assert response([1.0] * 6).spearman is None


def test_too_few_clips_for_a_count(extractor: EmbeddedExtractor, few: Clips) -> None:
    with pytest.raises(InputError, match="clips are 48, but distances over 64 are asked for"):
        settled(extractor, few, {"blur": 0.5}, counts=(32, 64))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_distances_grow_with_every_damage(
    extractor: EmbeddedExtractor, kind: str, request: pytest.FixtureRequest
) -> None:
    moved = ("shuffle, other colours", "freeze, other colours")
    found = responses(extractor, clips_of(kind, 256, request), [*ALL_DISTORTIONS, *moved])
    ranks = {
        (name, measure): found[name][measure].spearman
        for measure, names in ((MOTION, (*OF_TIME, *moved)), (QUALITY, OF_FRAMES))
        for name in names
        if (name, measure) not in WEAK[kind]
    }
    assert {key: rank for key, rank in ranks.items() if rank is None or rank < 0.95} == {}
    # A change of content alone moves the motion's features less than frames that are out of order.
    assert found[moved[0]][MOTION].distances[0] < found["shuffle"][MOTION].distances[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "measure"), [("blur", QUALITY), ("shuffle", MOTION)])
def test_more_clips_than_256_change_nothing(
    extractor: EmbeddedExtractor, kind: str, name: str, measure: str, request: pytest.FixtureRequest
) -> None:
    by_count = settled(extractor, clips_of(kind, max(COUNTS), request), {name: 0.6})[name][measure]
    widths = [(high - low) / 2 for low, high in (each.interval for each in by_count if each.interval is not None)]
    assert len(widths) == len(by_count)
    for i, j in itertools.combinations(range(len(by_count)), 2):  # the interval of a difference
        assert abs(by_count[i].value - by_count[j].value) <= math.hypot(widths[i], widths[j])


def test_clips_are_of_the_network_s_size(few: Clips) -> None:
    assert isinstance(few.plain, Tensor)
    assert few.plain.shape == few.reference.shape == (48, 16, 3, 64, 64)
