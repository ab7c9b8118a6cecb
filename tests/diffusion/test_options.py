"""Options of sampling: who reads which, and what is refused."""

from __future__ import annotations

import math

import pytest

from videofusion.diffusion.options import SamplingOptions, read_options
from videofusion.diffusion.samplers import SAMPLERS
from videofusion.errors import InputError

PLAIN = SamplingOptions()


def test_each_sampler_is_handed_what_it_reads_and_no_more() -> None:
    options = SamplingOptions(eta=0.2, gamma=0.3, delta=0.4)
    read = {sampler: options.of_sampler(sampler) for sampler in SAMPLERS}
    assert {name: own for name, own in read.items() if own} == {
        "ddim": {"eta": 0.2},
        "ddpm": {"gamma": 0.3},
        "langevin": {"gamma": 0.3, "delta": 0.4},
    }


def test_what_is_given_takes_the_place_of_a_model_s_own() -> None:
    own = PLAIN.turned({"gamma": 0.3, "spacing": "flow"}, "ddpm")
    assert own.turned({"spacing": "trailing", "delta": 0.2}, "langevin") == SamplingOptions(gamma=0.3, delta=0.2)
    # a model's gamma is not in the way of a sampler that knows none
    assert own.turned({}, "heun").of_sampler("heun") == {}


def test_items_of_text_are_options() -> None:
    assert read_options(["spacing=flow", " eta = 0.5"]) == {"spacing": "flow", "eta": 0.5}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: PLAIN.turned({"eta": 0.0}, "dpm++"),
            r"eta is 0.0, .* 'dpm\+\+' does not read; ddim would",
        ),
        (lambda: PLAIN.turned({"gamma": 1.0}, "ddim"), "does not read; ddpm and langevin would"),
        (
            lambda: PLAIN.turned({"spacings": "flow"}, "ddim"),
            '"spacings" is unknown .did you mean "spacing"',
        ),
        (lambda: PLAIN.turned({}, "euler"), "sampler is 'euler'"),
        (lambda: SamplingOptions(spacing="even"), "spacing is 'even'"),
        (lambda: SamplingOptions(rescale=math.inf), "rescale is inf"),
        (lambda: SamplingOptions(delta=-0.1), "delta is -0.1"),
        (lambda: SamplingOptions(gamma=1.1), "gamma is 1.1"),
        (lambda: PLAIN.turned({"eta": "much"}, "ddim"), "eta is 'much'; it must be a number"),
        (lambda: PLAIN.turned({"threshold": True}, "ddim"), "threshold is True; it must be a number"),
        (lambda: PLAIN.turned({"spacing": 0.5}, "ddim"), "spacing is 0.5"),
        (lambda: read_options(["eta"]), "sampler option is 'eta'; it must be NAME=VALUE"),
        (lambda: read_options(["eta="]), "sampler option is 'eta='; it must be NAME=VALUE"),
        (lambda: read_options(["eta=1", "eta=0"]), "sampler option eta is given twice"),
    ],
)
def test_bad_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
