from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
import torch

from videofusion.digits.drawing import coverage, handwriting, images_of, positions
from videofusion.digits.moving_digits import (
    BRIGHTEST,
    WORDS,
    MovingDigits,
    evaluation_prompts,
    is_held_out,
    parse,
    render,
)
from videofusion.digits.spec import COLOURS, DIRECTIONS, GREY, ROOM, SPEEDS, DigitClipSpec, DigitObject
from videofusion.digits.words import DIGIT_WORDS, FULL
from videofusion.errors import InputError

TWO = 0.4  # part of the clips of `specs` with two digits
COMBINATIONS = list(itertools.product(range(10), COLOURS, DIRECTIONS))


@pytest.fixture(scope="module")
def specs() -> list[DigitClipSpec]:
    """Some 2,000 clips of training, which many tests look at."""
    return MovingDigits(two_digits=TWO).specs(range(2000), epoch=3)


def things_of(specs: list[DigitClipSpec]) -> list[DigitObject]:
    return [thing for spec in specs for thing in spec.objects]


# Determinism


@pytest.mark.parametrize("options", [{}, {"split": "test", "combinations": "held_out"}, {"static": True}])
def test_batch_equals_its_samples_in_any_order(options: dict) -> None:
    digits = MovingDigits(8, 32, two_digits=0.5, **options)
    indices = [5, 0, 77_777, 3, 3]
    batch = digits.batch(indices, epoch=2, seed=9)
    assert batch.ids.tolist() == indices
    for row, index in enumerate(indices):
        sample = MovingDigits(8, 32, two_digits=0.5, **options).sample(index, epoch=2, seed=9)
        torch.testing.assert_close(sample.clip, batch.clip[row], rtol=0, atol=1e-6)
        assert (sample.caption, sample.name) == (batch.captions[row], batch.names[row])
    assert len(set(batch.names)) == 4


def test_seed_epoch_and_index_each_make_other_clips() -> None:
    digits = MovingDigits(2, 32)
    base = digits.batch(range(8), 0, 0).clip
    for other in (digits.batch(range(8), 1, 0), digits.batch(range(8), 0, 1), digits.batch(range(8, 16), 0, 0)):
        assert all((a - b).abs().max() > 0.5 for a, b in zip(base, other.clip, strict=True))


# Splits and held-out combinations


def test_every_image_belongs_to_exactly_one_split() -> None:
    split_of = Counter(i for split in images_of().values() for part in split for i in part)
    assert sorted(split_of) == list(range(1797))
    assert set(split_of.values()) == {1}
    labels = handwriting()[1]
    for split, part in {"train": 0.7, "val": 0.1, "test": 0.2}.items():
        for digit, mine in enumerate(images_of()[split]):
            assert all(labels[i] == digit for i in mine)
            assert len(mine) == pytest.approx(part * (labels == digit).sum(), abs=1)


def test_clips_use_the_images_of_their_split_and_digit() -> None:
    for split in ("train", "val", "test"):
        for spec in MovingDigits(split=split, two_digits=1.0).specs(range(100)):
            assert all(thing.image in images_of()[split][thing.digit] for thing in spec.objects)


def test_a_quarter_is_held_out_and_every_pair_stays() -> None:
    seen = [c for c in COMBINATIONS if not is_held_out(*c)]
    assert len(seen) == 0.75 * len(COMBINATIONS)
    for one, two in itertools.combinations(range(3), 2):
        together = Counter((c[one], c[two]) for c in COMBINATIONS)
        kept = Counter((c[one], c[two]) for c in seen)
        assert all(0.7 <= kept[pair] / total < 1 for pair, total in together.items())
    for part in range(3):
        together, kept = (Counter(c[part] for c in group) for group in (COMBINATIONS, seen))
        assert all(abs(kept[value] / total - 0.75) < 0.06 for value, total in together.items())


def test_held_out_combinations_never_occur_where_they_must_not(specs: list[DigitClipSpec]) -> None:
    things = things_of(specs)
    assert not any(thing.held_out for thing in things)
    # All that is seen does occur, so that the line above is not for want of variety.
    assert len({(t.digit, t.colour, t.direction) for t in things}) > 0.98 * 420
    for split in ("val", "test"):
        assert not any(t.held_out for t in things_of(MovingDigits(split=split, two_digits=1.0).specs(range(300))))


def test_test_split_gives_what_is_asked_for() -> None:
    held, both = (
        things_of(MovingDigits(split="test", combinations=name, two_digits=1.0).specs(range(500)))
        for name in ("held_out", "all")
    )
    assert all(thing.held_out for thing in held)
    assert len({(t.digit, t.colour, t.direction) for t in held}) == 140
    assert np.mean([thing.held_out for thing in both]) == pytest.approx(0.25, abs=0.05)


def test_attributes_are_evenly_spread(specs: list[DigitClipSpec]) -> None:
    assert np.mean([len(spec.objects) == 2 for spec in specs]) == pytest.approx(TWO, abs=0.05)
    assert np.mean([spec.background is not None for spec in specs]) == pytest.approx(0.3, abs=0.05)
    things = things_of(specs)
    for name, values in {"digit": range(10), "colour": COLOURS, "direction": DIRECTIONS, "speed": SPEEDS}.items():
        counts = Counter(getattr(thing, name) for thing in things)
        assert set(counts) == set(values)
        assert min(counts.values()) > 0.75 * len(things) / len(counts)
    for first, second in (spec.objects for spec in specs if len(spec.objects) == 2):
        assert first.digit != second.digit
        assert first.colour != second.colour


# Pixels


def one(direction: str | None, speed: str | None, start: tuple[float, float], colour: str = "white") -> DigitObject:
    return DigitObject(digit=3, colour=colour, image=3, start=start, direction=direction, speed=speed)


def centroid(cover: torch.Tensor) -> torch.Tensor:
    """Centre of the ink, x and y in pixels: [... h w] -> [... 2]."""
    at = torch.arange(cover.shape[-1], dtype=torch.float32)
    total = cover.sum((-1, -2))
    return torch.stack([(cover.sum(-2) * at).sum(-1) / total, (cover.sum(-1) * at).sum(-1) / total], -1)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_ink_moves_as_it_is_told(direction: str, speed: str, size: int) -> None:
    x, y = DIRECTIONS[direction]
    start = (0.5 - 0.4 * np.sign(x), 0.5 - 0.4 * np.sign(y))
    at = centroid(coverage([one(direction, speed, start)], 9, size)[0])
    step = SPEEDS[speed] * size / 32
    # The pixel grid moves the centre of hard-edged ink by up to a tenth of a pixel.
    told = torch.arange(9.0)[:, None] * torch.tensor([x, y]) * step
    torch.testing.assert_close(at - at[0], told, rtol=0, atol=0.12)


def test_sharpness_does_not_depend_on_the_place_between_pixels() -> None:
    cover = coverage([one("right", "slow", (0.1, 0.5))], 12, 32)[0]
    edges = (cover[:, :, 1:] - cover[:, :, :-1]).square().sum((1, 2))
    assert edges.std() / edges.mean() < 0.03


def test_no_wall_is_met_in_the_first_half(specs: list[DigitClipSpec]) -> None:
    things = things_of(specs)
    path = positions(things, 9)
    told = torch.tensor([thing.velocity for thing in things], dtype=torch.float64)
    torch.testing.assert_close(path[:, 1:] - path[:, :-1], told[:, None].expand(-1, 8, -1))
    # Later some do turn round.
    later = positions(things, 16)
    assert ((later[:, 15] - later[:, 14] - told).abs().amax(-1) > 1e-6).float().mean() > 0.2


def test_bounces_keep_the_digit_and_its_speed() -> None:
    thing = one("up right", "fast", (0.3, 0.8))
    path = positions([thing], 200)[0]
    assert path.min() >= 0
    assert path.max() <= 1
    step = (path[1:] - path[:-1]).abs() * 32 * ROOM
    whole = torch.isclose(step, torch.tensor(0.5**0.5, dtype=torch.float64))
    assert whole.float().mean() > 0.9
    assert (step <= 0.5**0.5 + 1e-9).all()
    # All of its ink stays on the canvas, but for the soft edge at the wall itself.
    ink = coverage([thing], 200, 32)[0].sum((1, 2))
    assert ink.min() > 0.93 * ink.max()


def test_very_long_clips_still_start_somewhere() -> None:
    path = positions([s.objects[0] for s in MovingDigits(frames=400).specs(range(50))], 400)
    assert path.min() >= 0
    assert path.max() <= 1


@pytest.mark.parametrize("colour", COLOURS)
def test_colour_inside_and_black_outside(colour: str) -> None:
    spec = DigitClipSpec(objects=(one("left", "slow", (0.9, 0.5), colour=colour),), caption="")
    clip = render([spec], 4, 32)
    cover = coverage(spec.objects, 4, 32)[0]
    pixels = clip[0].permute(0, 2, 3, 1)
    inside = pixels[cover == 1]
    assert len(inside) > 40
    torch.testing.assert_close(inside, (torch.tensor(COLOURS[colour]) * 2 - 1).expand_as(inside), rtol=0, atol=1e-6)
    assert (pixels[cover == 0] == -1).all()


def test_range_and_gradient_brightness(specs: list[DigitClipSpec]) -> None:
    specs = specs[:300]
    clips = render(specs, 2, 32)
    assert clips.dtype == torch.float32
    assert clips.shape == (300, 2, 3, 32, 32)
    assert clips.min() >= -1
    assert clips.max() <= 1
    bare = [DigitClipSpec(objects=(), caption="", background=s.background, angle=s.angle) for s in specs]
    lit = [spec for spec in bare if spec.background is not None]
    behind = render(lit, 1, 32)
    assert behind.max() <= BRIGHTEST * 2 - 1 + 1e-6
    assert (behind.amax((1, 3, 4)) - behind.amin((1, 3, 4))).mean() > 0.05


def test_the_second_digit_lies_on_top() -> None:
    below, above = one(None, None, (0.5, 0.5), colour="red"), one(None, None, (0.5, 0.5), colour="blue")
    both = render([DigitClipSpec(objects=(below, above), caption="")], 1, 32)[0, 0]
    full = coverage([above], 1, 32)[0, 0] == 1
    blue = torch.tensor(COLOURS["blue"]) * 2 - 1
    torch.testing.assert_close(both[:, full], blue[:, None].expand(-1, int(full.sum())), rtol=0, atol=1e-6)


def test_rendering_at_twice_the_size_shows_the_same() -> None:
    specs = MovingDigits(4, two_digits=0.5).specs(range(6))
    small = render(specs, 4, 32)
    large = torch.nn.functional.avg_pool2d(render(specs, 4, 64).flatten(0, 1), 2).reshape(small.shape)
    assert (small - large).abs().mean() < 0.03


def test_stills_stand_still_and_grey_is_grey() -> None:
    clip = MovingDigits(3, 32, static=True, two_digits=0.5).batch(range(20)).clip
    assert (clip == clip[:, :1]).all()
    grey = MovingDigits(1, 32, static=True, grey=True).batch(range(20))
    assert (grey.clip.amax(2) - grey.clip.amin(2)).max() < 1e-6
    assert not any(word in COLOURS or word in DIRECTIONS for text in grey.captions for word in text.split())


def test_only_the_middle_frame_with_the_clip_s_caption() -> None:
    whole, middle = MovingDigits(16, 32).batch(range(6)), MovingDigits(16, 32, only_middle=True).batch(range(6))
    assert torch.equal(middle.clip, whole.clip[:, 8:9])
    assert middle.captions == whole.captions


def test_crops_hold_the_whole_digit() -> None:
    """Its ink is as much as in the whole frame, and the crop is a part of that frame."""
    data = {"two_digits": 0.0, "only_middle": True}
    whole, close = (MovingDigits(16, 32, **data, crop=crop).batch(range(40)) for crop in (None, 16))
    assert close.clip.shape == (40, 1, 3, 16, 16)
    assert close.captions == whole.captions
    windows = whole.clip[:, 0].unfold(2, 16, 1).unfold(3, 16, 1)  # b c y x 16 16
    found = (windows == close.clip[:, 0, :, None, None]).all(5).all(4).all(1)  # b y x
    assert found.flatten(1).any(1).all()
    dark = [not spec.background for spec in MovingDigits(16, 32, **data).specs(range(40))]
    ink = [(batch.clip + 1).sum(dim=(1, 2, 3, 4))[dark] for batch in (whole, close)]
    torch.testing.assert_close(ink[0], ink[1], rtol=0.05, atol=0)  # strokes may reach a little over the square


def test_crops_do_not_depend_on_their_batch_and_need_room() -> None:
    data = MovingDigits(16, 32, only_middle=True, crop=16)
    assert torch.equal(data.batch([3, 4]).clip[1], data.batch([4]).clip[0])
    for options in ({"crop": 16}, {"crop": 14, "only_middle": True}, {"crop": 33, "only_middle": True}):
        with pytest.raises(InputError, match="crop is"):
            MovingDigits(16, 32, **options)


# Captions


def test_captions_agree_with_what_is_shown(specs: list[DigitClipSpec]) -> None:
    full = 0
    for spec in specs:
        said = parse(spec.caption)
        assert len(said) == len(spec.objects)
        for told, thing in zip(said, spec.objects, strict=True):
            for name in ("digit", "colour", "direction", "speed"):
                assert getattr(told, name) in (None, getattr(thing, name)), spec.caption
            missing = [n for n in ("digit", "colour", "direction") if getattr(told, n) is None]
            assert len(missing) <= 1, spec.caption
        full += all(None not in (told.digit, told.colour, told.direction) for told in said)
    assert full / len(specs) == pytest.approx(FULL, abs=0.03)


def test_captions_use_exactly_the_words_that_are_listed(specs: list[DigitClipSpec]) -> None:
    texts = [spec.caption for spec in specs]
    texts += [s.caption for s in MovingDigits(1, static=True, grey=True).specs(range(100))]
    used = {word for text in texts for word in text.split(" ")}
    assert used == set(WORDS)
    assert len(WORDS) == len(used)


def test_wordings_differ(specs: list[DigitClipSpec]) -> None:
    texts = [spec.caption for spec in specs if len(spec.objects) == 1]
    for letter, words in {
        "C": COLOURS,
        "D": sorted(DIRECTIONS, key=len)[::-1],
        "W": DIGIT_WORDS,
        "N": "0123456789",
    }.items():
        texts = [re.sub(rf"\b({'|'.join(words)})\b", letter, text) for text in texts]
    assert {
        "a C W moving D",
        "a C N drifts D",
        "the C W moving D",
        "a C N goes D fast",
        "a C W moves D slowly",
        "a C digit moving D",
        "a N moving D",
        "a C W",
        "a C N moving",
    } <= set(texts)
    assert not any(re.search(r"\ba (eight|8)\b", spec.caption) for spec in specs)


def test_grey_stills_say_their_digit() -> None:
    for spec in MovingDigits(1, static=True, grey=True, two_digits=0.0).specs(range(50)):
        (said,) = parse(spec.caption)
        assert said.digit == spec.objects[0].digit
        assert said.colour in (None, GREY)


def test_parse_reads_words_and_numerals() -> None:
    for digit, word in enumerate(DIGIT_WORDS):
        assert parse(f"a red {word} goes up left slowly") == parse(f"the red {digit} drifts up left slowly")
    first, second = parse("a green 2 moving right and a white five moving down")
    assert (first.digit, first.colour, first.direction) == (2, "green", "right")
    assert (second.digit, second.colour, second.direction) == (5, "white", "down")


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("held_out", [False, True])
def test_evaluation_prompts_are_full_and_of_the_kind_asked_for(held_out: bool, two: bool) -> None:
    specs = evaluation_prompts(40, held_out, seed=4, two_digits=two)
    assert specs == evaluation_prompts(40, held_out, seed=4, two_digits=two)
    assert specs != evaluation_prompts(40, held_out, seed=5, two_digits=two)
    for spec in specs:
        assert len(spec.objects) == 1 + two
        for told, thing in zip(parse(spec.caption), spec.objects, strict=True):
            assert (told.digit, told.colour, told.direction) == (thing.digit, thing.colour, thing.direction)
            assert thing.held_out == held_out
            assert thing.image in images_of()["test"][thing.digit]


# Bad input


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"frames": 0}, "frames"),
        ({"size": 4}, "size"),
        ({"split": "dev"}, "dev"),
        ({"two_digits": 1.5}, "two_digits"),
        ({"two_digits": float("nan")}, "two_digits"),
        ({"length": 0}, "length"),
        ({"combinations": "some"}, "some"),
        ({"combinations": "held_out"}, "held_out"),
        ({"grey": True}, "grey"),
    ],
)
def test_bad_options_are_named(options: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        MovingDigits(**options)


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(InputError, match="specs"):
        render([], 1, 32)
    with pytest.raises(InputError, match="count"):
        evaluation_prompts(0, held_out=True)
