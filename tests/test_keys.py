"""Randomness by keys: the published generator, its laws, and that nothing but the labels decides a draw."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from videofusion import keys
from videofusion.errors import InputError
from videofusion.keys import Stream, integers, normal, philox, uniform

WORD = (1 << 32) - 1
ODD = (3, 5, 7)  # 105 numbers: neither a multiple of four nor of any vector's width


def reference(counter: list[int], key: list[int], rounds: int = 7) -> list[int]:
    """Philox4x32 in Python's integers, as Salmon et al. 2011 write it (sec. 3.3)."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(rounds):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & WORD, (left >> 32) ^ c3 ^ k1, left & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return [c0, c1, c2, c3]


# the known answers of its authors' library, Random123
KNOWN = [
    (7, [0] * 4, [0] * 2, "5f6fb709 0d893f64 4f121f81 4f730a48"),
    (7, [WORD] * 4, [WORD] * 2, "5207ddc2 45165e59 4d8ee751 8c52f662"),
    (10, [0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (10, [WORD] * 4, [WORD] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        10,
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "answer"), KNOWN)
def test_the_generator_is_the_published_one(
    rounds, counter: list[int], key: list[int], answer: str, monkeypatch
) -> None:
    assert keys.ROUNDS == 7
    monkeypatch.setattr(keys, "ROUNDS", rounds)
    wanted = [int(word, 16) for word in answer.split()]
    assert reference(counter, key, rounds) == wanted
    found = philox([torch.tensor([word]) for word in counter], [torch.tensor([word]) for word in key])
    assert [int(word) for word in found] == wanted


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 - 1, 2**64 + 5, -(10**30), True])
def test_every_label_has_its_place_in_counter_and_key(seed: int) -> None:
    """Any integer is a key, modulo 2^64."""
    found = integers([7, seed], Stream.TIME, 2**32 - 1, [0, -3, 2**31 - 1], 10)
    words = [seed % 2**64 & WORD, seed % 2**64 >> 32]
    for place, frame in enumerate((0, -3 % 2**32, 2**31 - 1)):
        blocks = [reference([block, frame, WORD, Stream.TIME], words) for block in range(3)]
        assert found[1, place].tolist() == [word for block in blocks for word in block][:10]


def test_the_words_make_uniform_and_normal_numbers() -> None:
    one, other = integers([9], Stream.CAPTION, 4, [0], 2)[0, 0].tolist()
    assert uniform([9], Stream.CAPTION, 4).tolist() == [((one << 21) + (other >> 11)) / 2**53]
    words = integers([9], Stream.BASE, 4, [2], 105)[0, 0].double()
    radius = (-2 * ((words[:104:2] + 0.5) * 2.0**-32).log()).sqrt()
    angle = words[1:104:2] * (2 * math.pi * 2.0**-32)
    wanted = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).flatten()
    found = normal([9], Stream.BASE, 4, [2], ODD)
    assert found.shape == (1, 1, *ODD)
    torch.testing.assert_close(found.flatten()[:104].double(), wanted, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("shape", [ODD, (3, 64, 64), (1,)])
def test_a_draw_depends_on_no_batch_window_order_or_chunk(shape: tuple[int, ...], monkeypatch) -> None:
    whole = normal([1, 2, 3], Stream.RESIDUAL, 5, range(6), shape)
    alone = torch.cat([normal([key], Stream.RESIDUAL, 5, [frame], shape) for key in (3, 1) for frame in (4, 2)])
    assert torch.equal(alone.flatten(0, 1), whole[[2, 2, 0, 0], [4, 2, 4, 2]])
    monkeypatch.setattr(keys, "_CHUNK", 1)
    assert torch.equal(normal([1, 2, 3], Stream.RESIDUAL, 5, range(6), shape), whole)
    monkeypatch.setattr(keys, "_CHUNK", 1 << 30)
    assert torch.equal(normal([1, 2, 3], Stream.RESIDUAL, 5, range(6), shape), whole)
    together = uniform([5, -1, 2**70], Stream.TIME, 3)
    assert together.tolist() == [float(uniform([key], Stream.TIME, 3)) for key in (5, -1, 2**70)]


def test_fewer_numbers_are_the_first_of_more() -> None:
    more = normal([4], Stream.BASE, 0, [0], (1000,))
    for count in (1, 2, 3, 5, 77):
        assert torch.equal(normal([4], Stream.BASE, 0, [0], (count,)), more[..., :count])


def test_the_same_on_several_threads() -> None:
    threads = torch.get_num_threads()
    drawn = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            drawn.append(normal([1, 2], Stream.BASE, 0, [0, 1], (3, 130, 131)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*drawn)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_integers() -> None:
    labels = ([-1, 2**63], Stream.BASE, 7, [0, 5], 10_001)
    assert torch.equal(integers(*labels, device="cuda").cpu(), integers(*labels))
    mine, theirs = normal(*labels[:4], (10_001,)), normal(*labels[:4], (10_001,), device="cuda").cpu()
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def avalanche(bits: range, place: int, count: int = 2048) -> Tensor:
    """How often each of the 128 bits changes when one of a label does; 0 is the block, 1-3 the counter, 4-5 the key."""
    labels = torch.arange(count)
    # small numbers, as blocks, frames, steps, streams and seeds are
    words = [labels % 8, labels // 8 % 4, labels // 32 % 4, labels // 128 % 4, labels // 512, torch.zeros_like(labels)]
    before = torch.stack(philox(words[:4], words[4:]))
    rates = []
    for bit in bits:
        other = [word ^ (1 << bit) if i == place else word for i, word in enumerate(words)]
        changed = before ^ torch.stack(philox(other[:4], other[4:]))
        rates.append(torch.stack([(changed >> shift & 1).double().mean(1) for shift in range(32)]))
    return torch.stack(rates)


@pytest.mark.parametrize("place", range(6))
def test_each_bit_of_a_label_changes_each_bit_of_a_draw_half_of_the_time(place: int, monkeypatch) -> None:
    tolerance = 6 * 0.5 / math.sqrt(2048)  # 6 standard errors; 4096 rates
    assert (avalanche(range(32), place) - 0.5).abs().max() < tolerance
    monkeypatch.setattr(keys, "ROUNDS", 3)  # the test would find a generator that does not mix
    assert (avalanche(range(32), place) - 0.5).abs().max() > tolerance


def likeness(one: Tensor, other: Tensor) -> float:
    """The largest correlation of the numbers or of their squares, in standard errors."""
    one, other = one.flatten().double(), other.flatten().double()
    (a, b), (c, d) = (one, other), ((each**2 - 1) / math.sqrt(2) for each in (one, other))
    return max(abs(float(x @ y)) for x, y in ((a, b), (c, d), (a, d), (c, b))) / math.sqrt(len(one))


def test_normal_numbers_are_normal_and_neighbours_of_every_kind_are_independent() -> None:
    shape = (3, 128, 128)
    drawn = normal([0, 1], Stream.RESIDUAL, 1, range(8), shape)  # 786,432 numbers
    numbers = drawn.flatten().double()
    root = math.sqrt(len(numbers))
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170), (8, 105, 2016000)):
        assert abs(float((numbers**power).mean()) - moment) < 5 * math.sqrt(spread) / root, power
    # Kolmogorov and Smirnov: 1.95 is exceeded once in a thousand draws
    ideal = torch.special.ndtr(numbers.sort().values)
    assert float((ideal - torch.arange(len(numbers)) / len(numbers)).abs().max()) < 1.95 / root
    assert 4.5 < float(numbers.abs().max()) < 6.8
    beside = {
        "keys": (drawn[0], drawn[1]),
        "frames": (drawn[:, 1:], drawn[:, :-1]),
        "steps": (drawn, normal([0, 1], Stream.RESIDUAL, 2, range(8), shape)),
        "streams": (drawn, normal([0, 1], Stream.BASE, 1, range(8), shape)),
        "far keys": (drawn, normal([2**32, 2**32 + 1], Stream.RESIDUAL, 1, range(8), shape)),
    }
    flat = drawn.flatten(2)
    beside |= {f"elements {gap} apart": (flat[..., gap:], flat[..., :-gap]) for gap in (1, 2, 3, 4, 8, 128, 128**2)}
    for name, (one, other) in beside.items():
        assert likeness(one, other) < 5, name


def test_choices_of_each_name_are_uniform_and_independent_of_the_others() -> None:
    many = range(20_000)
    names = [Stream.TIME, Stream.CAPTION, Stream.SHARE, Stream.RATE, Stream.MIDDLE_AMOUNT]
    drawn = torch.stack([uniform(many, stream, step) for stream in names for step in (0, 1)])
    assert drawn.dtype == torch.float64
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    for row in drawn:
        assert (torch.histc(row, 20, 0, 1) - 1000).abs().max() < 5 * math.sqrt(1000)
    rows = torch.cat([drawn, drawn.roll(1, dims=1)])
    assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < 5 / math.sqrt(20_000)


def test_no_two_streams_have_one_number() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)


def test_labels_that_would_be_taken_for_others_are_refused() -> None:
    with pytest.raises(InputError, match=r"step is -1; it must be in \[0, 2\^32\)"):
        normal([0], Stream.BASE, -1, [0], (1,))
    with pytest.raises(InputError, match="step is 4294967296"):
        uniform([0], Stream.TIME, 2**32)
    with pytest.raises(InputError, match=r"frames holds 2147483648; frame numbers must be in \[-2\^31, 2\^31\)"):
        normal([0], Stream.BASE, 0, [1, 2**31], (1,))
    assert normal([], Stream.BASE, 0, [0], (2,)).shape == (0, 1, 2)
    assert integers([1], Stream.BASE, 0, [], 2).shape == (1, 0, 2)
