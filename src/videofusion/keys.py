"""Randomness by keys: a number depends on its key, its stream, the step, the frame and its place, and on nothing else.

The generator is Philox4x32-7 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a function from a
counter of 128 bits and a key of 64 bits to 128 random bits, so that no batch, window or order changes a draw. Seven
rounds are the fewest with which its authors found it to pass all of BigCrush. It is written in torch's 64-bit integers,
and its integers are the same on any machine and device. Normal numbers are made of them by torch's logarithm, sine and
cosine, whose last bit may differ between kinds of machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import IntEnum

import torch
from torch import Tensor

from videofusion.errors import InputError

ROUNDS = 7  # at least 2
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # what a round adds to the key
_MASK = 0xFFFFFFFF  # the lower half of a 64-bit integer
# Blocks of four words that are computed together: on a CPU as many as fit a core's cache, elsewhere the memory.
_CHUNK, _CHUNK_ELSEWHERE = 1 << 15, 1 << 22

Words = tuple[Tensor, Tensor, Tensor, Tensor]


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent. A number is never given to another stream."""

    BASE = 0  # noise that a clip's frames share
    RESIDUAL = 1  # noise of each frame's own
    MIDDLE_FRAME = 2  # noise on a clean middle frame that a network is shown
    MIDDLE_AMOUNT = 3  # how much of it
    PRIOR = 4  # noise that a prior is trained on and samples from
    EMBEDDING = 5  # noise on the embeddings that generators are trained with
    TIME = 6  # choices of a training step: the time of a clip,
    CAPTION = 7  # whether it goes without its caption,
    SHARE = 8  # whether its share is measured,
    RATE = 9  # whether it goes without its rate,
    FRAMES = 10  # which of its frames are looked at
    SHUFFLE = 11  # the order of frames of shuffled noise
    CLIP_ORDER = 12  # of an epoch's clips
    SHARD_ORDER = 13  # of an epoch's shards
    DIGIT_CROP = 14  # the place that is cut from a frame of moving digits
    CONTEXT = 15  # choices of a training step: which frames of a clip are shown beside,
    NO_CONTEXT = 16  # whether none is
    PICTURE = 17  # noise on a first picture that a network is shown
    PICTURE_AMOUNT = 18  # how much of it


def integers(
    keys: Sequence[int],
    stream: Stream,
    step: int,
    frames: Sequence[int],
    count: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Random integers in [0, 2^32).

    Args:
        keys: b integers; they are taken modulo 2^64.
        stream: what they are for.
        step: in [0, 2^32).
        frames: t numbers in [-2^31, 2^31).
        count: of each key and frame.
        device: where they are made.

    Returns:
        [b t count], int64.

    Raises:
        InputError: a step or frame outside of what is said above.
    """
    made = torch.empty(len(keys) * len(frames), -(-count // 4), 4, dtype=torch.int64, device=device)
    for rows, words in _words(keys, stream, step, frames, count, device):
        torch.stack(words, dim=-1, out=made[rows])
    return made.flatten(1)[:, :count].reshape(len(keys), len(frames), count)


def normal(
    keys: Sequence[int],
    stream: Stream,
    step: int,
    frames: Sequence[int],
    shape: Sequence[int],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal numbers [b t *shape], float32, by the transform of Box and Muller; see `integers`."""
    count = math.prod(shape)
    made = torch.empty(len(keys) * len(frames), -(-count // 4), 4, dtype=torch.float32, device=device)
    for rows, words in _words(keys, stream, step, frames, count, device):
        for place in (0, 2):
            # never 0, and at most 1: a radius is up to 6.8
            radius = words[place].float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
            angle = words[place + 1].float().mul_(2 * math.pi * 2.0**-32)
            torch.mul(radius, angle.cos(), out=made[rows, :, place])
            torch.mul(radius, angle.sin_(), out=made[rows, :, place + 1])
    return made.flatten(1)[:, :count].reshape(len(keys), len(frames), *shape)


def uniform(keys: Sequence[int], stream: Stream, step: int) -> Tensor:
    """A number in [0, 1) for each key [b], float64 with 53 random bits, on the CPU; see `integers`."""
    upper, lower = integers(keys, stream, step, [0], 2)[:, 0].unbind(1)
    return ((upper << 21) | (lower >> 11)).double() * 2.0**-53


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> Words:
    """Philox4x32 with `ROUNDS` rounds.

    Args:
        counter: four words in [0, 2^32), int64, which broadcast against each other and the key to [r n].
        key: two words, likewise.

    Returns:
        four random words [r n].
    """
    a, b, c, d = counter
    rounds = [((key[0] + i * _WEYL[0]) & _MASK, (key[1] + i * _WEYL[1]) & _MASK) for i in range(ROUNDS)]
    for k, m in rounds[:2]:  # out of place: as long as words are the same along an axis, they are computed once
        left, right = a * _MULTIPLY[0], c * _MULTIPLY[1]
        a, c = (right >> 32).bitwise_and_(_MASK) ^ (b ^ k), ((left >> 32).bitwise_and_(_MASK) ^ m) ^ d
        b, d = right.bitwise_and_(_MASK), left.bitwise_and_(_MASK)
    a, b, c, d = (word.contiguous() for word in torch.broadcast_tensors(a, b, c, d))
    upper = torch.empty_like(a)
    for k, m in rounds[2:]:
        # of b and d the lower halves count only: what is above is cut off when they are multiplied next
        a.mul_(_MULTIPLY[0])
        c.mul_(_MULTIPLY[1])
        b.bitwise_xor_(torch.bitwise_right_shift(c, 32, out=upper)).bitwise_xor_(k).bitwise_and_(_MASK)
        d.bitwise_xor_(torch.bitwise_right_shift(a, 32, out=upper)).bitwise_xor_(m).bitwise_and_(_MASK)
        a, b, c, d = b, c, d, a
    return a, b.bitwise_and_(_MASK), c, d.bitwise_and_(_MASK)


def _words(
    keys: Sequence[int], stream: Stream, step: int, frames: Sequence[int], count: int, device: torch.device | str
) -> Iterator[tuple[slice, Words]]:
    """Words of every key and frame, some rows [r n] of the b·t at a time, with which rows they are."""
    if not 0 <= step <= _MASK:
        raise InputError(f"step is {step}; it must be in [0, 2^32)")
    far = [frame for frame in frames if not -(2**31) <= frame < 2**31]
    if far:
        raise InputError(f"frames holds {far[0]}; frame numbers must be in [-2^31, 2^31)")
    device = torch.device(device)

    def words(values: Sequence[int]) -> Tensor:
        return torch.tensor([int(value) & _MASK for value in values], dtype=torch.int64, device=device)

    low, high = (words(half).repeat_interleave(len(frames))[:, None] for half in (keys, [int(k) >> 32 for k in keys]))
    frame = words(frames).repeat(len(keys))[:, None]
    block = torch.arange(-(-count // 4), device=device)
    fixed = words([step, stream])
    chunk = _CHUNK * torch.get_num_threads() if device.type == "cpu" else _CHUNK_ELSEWHERE
    size = max(1, chunk // max(1, len(block)))
    for start in range(0, len(frame), size):
        rows = slice(start, start + size)
        yield rows, philox((block, frame[rows], fixed[0], fixed[1]), (low[rows], high[rows]))
