"""The validation measure: zero for the same, small for real clips, more with every strength of every distortion."""

import pytest
import torch
from torch import Generator

from tools.distortions import DISTORTIONS
from videofusion.digits.fidelity import FidelityMeasure, reference_specs
from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import render
from videofusion.errors import InputError

# What each distortion must be noticed by: the frames alone, or what happens over time.
NOTICED = {
    "blur": "quality",
    "noise": "quality",
    "jitter": "consistency",
    "shuffle": "consistency",
    "freeze": "consistency",
    "cut": "consistency",
}


@pytest.fixture(scope="module")
def measure():
    return FidelityMeasure(Judge.load(), render(reference_specs(512, 16, 0.2), 16, 32))


@pytest.fixture(scope="module")
def clips():
    return render(reference_specs(256, 16, 0.2, seed=77), 16, 32)


@pytest.fixture(scope="module")
def plain(measure, clips):
    return measure(clips, replicates=10)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_grows_with_every_distortion(measure, clips, plain, name):
    found = [getattr(plain, NOTICED[name]).value]
    for strength in (0.25, 0.6, 1.0):
        spoiled = torch.cat(
            [DISTORTIONS[name](part, strength, Generator().manual_seed(i)) for i, part in enumerate(clips.split(16))]
        )
        found.append(getattr(measure(spoiled, replicates=2), NOTICED[name]).value)
    assert found == sorted(found)
    assert found[-1] > 3 * found[0]


def test_order_of_the_frames_is_nothing_to_quality(measure, clips, plain):
    backwards = measure(clips.flip(1), replicates=2)
    assert backwards.quality.value == pytest.approx(plain.quality.value, rel=1e-3)


def test_real_clips_are_near_with_a_small_spread(plain, measure, clips):
    noisy = measure(DISTORTIONS["noise"](clips, 0.5, Generator().manual_seed(0)), replicates=2)
    assert plain.quality.value < 0.1 * noisy.quality.value
    assert plain.quality.deviation < plain.quality.value


def test_a_handful_of_clips_is_refused(measure, clips):
    with pytest.raises(InputError, match="128"):
        measure(clips[:20])
