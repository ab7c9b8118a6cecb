"""Random numbers of the data, by numpy: they depend on their labels only, never on what was drawn before.

A label that says what a draw is for is a `Stream` of `videofusion/keys.py`, which has the randomness of all else.

The generator is the finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable
pseudorandom number generators", 2014), applied to a counter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers: a bijection in which each input bit moves about half the output."""
    with np.errstate(over="ignore"):
        value = value + _GOLDEN
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def keys(*labels: int | NDArray[np.int64]) -> NDArray[np.uint64]:
    """One key per combination of integer labels, which broadcast against each other (at least [1])."""
    key = np.zeros(1, np.uint64)
    for label in labels:
        key = mix(key ^ mix(np.atleast_1d(np.asarray(label, np.int64)).view(np.uint64)))
    return key


def uniforms(key: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each key: shape [..., count], with 53 random bits each."""
    with np.errstate(over="ignore"):
        streams = np.arange(count, dtype=np.uint64) * _GOLDEN
        bits = mix(mix(key[..., None] ^ mix(streams)))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
