"""What every condition keeps to, and how a list of them becomes one telling of a network."""

from __future__ import annotations

import pytest
import torch

from videofusion.conditioning.condition import Condition, Request, Step, checked, network_inputs, together
from videofusion.conditioning.context import ContextFrames
from videofusion.conditioning.label import ClassLabel
from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.rate import FrameRate
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError

B, T = 6, 4
KEYS = Keys.of(range(B))
PROFILES = [[1.0, 0.1, 0.0], [1.0, 0.9, 0.5]]


def batch(keep: list[int] | None = None) -> Batch:
    keep = list(range(B)) if keep is None else keep
    clip = torch.sin(torch.arange(B * T * 3 * 16.0)).reshape(B, T, 3, 4, 4)[keep]
    names = [f"clip {i}" for i in keep]
    captions, labels = ([each[i % 2] for i in keep] for each in (["a red", "red"], ["cat", "dog"]))
    return Batch(clip, captions, names, torch.tensor(keep), labels=labels, fps=torch.arange(1.0, B + 1)[keep])


def prompt() -> Prompt:
    torch.manual_seed(0)
    return Prompt(WordEncoder(words=["a", "red"], size=16, layers=1, heads=2).eval())


EVERY = {
    "prompt": (prompt, ["a red"] * B),
    "rate": (FrameRate, 8.0),
    "label": (lambda: ClassLabel(["cat", "dog"]), "dog"),
    "motion": (lambda: Motion(None, PROFILES, 0.5), 0.3),
    "context": (lambda: ContextFrames([(0,), (0, 3), ()]), None),
}


def step(dropout: float = 0.4, frames: range = range(T)) -> Step:
    return Step(number=3, frames=frames, dropout=dropout)


@pytest.fixture(params=EVERY)
def condition(request: pytest.FixtureRequest) -> Condition:
    return EVERY[request.param][0]()


@torch.no_grad()
def test_what_a_clip_is_told_depends_on_its_key_and_not_on_its_batch(condition: Condition) -> None:
    told = condition.train(batch(), KEYS, step())
    some = condition.train(batch([4, 1]), Keys.of([4, 1]), step())
    value, part = (told.given() | vars(told))[condition.name], (some.given() | vars(some))[condition.name]
    torch.testing.assert_close(part, value[[4, 1]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["prompt", "rate", "label", "context"])
@torch.no_grad()
def test_always_left_out_it_says_its_null_value(name: str) -> None:
    condition = EVERY[name][0]()
    told = condition.train(batch(), KEYS, step(1.0))
    null = told.without(condition.name)
    torch.testing.assert_close(getattr(told, condition.name), getattr(null, condition.name), atol=1e-5, rtol=0)
    said = condition.train(batch(), KEYS, step(0.0))
    assert not torch.equal(getattr(said, condition.name), getattr(null, condition.name))


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_training_and_sampling_tell_a_network_the_same_fields(name: str) -> None:
    make, value = EVERY[name]
    condition = make()
    condition.check(value) if value is not None else None
    request = Request(shape=(B, T, 3, 4, 4), device=torch.device("cpu"), keys=KEYS)
    trained, sampled = condition.train(batch(), KEYS, step()), condition.sample(value, request)
    assert trained.given().keys() == sampled.given().keys()
    for field, value in trained.given().items():
        assert sampled.given()[field].shape[2:] == value.shape[2:], field
    assert trained.null.keys() == sampled.null.keys()


def test_context_shows_one_of_its_sets_and_only_frames_that_a_step_looks_at() -> None:
    told = ContextFrames([(0,), (0, 3), ()]).train(batch(), KEYS, step(0.0, range(1, T))).beside
    assert told.shape == (B, 3, 4, 4, 4)
    masks = {tuple(mask) for mask in told[:, :, 0, 0, 0].int().tolist()}
    assert masks <= {(0, 0, 0), (0, 0, 1)}
    assert len(masks) == 2
    shown = told[:, :, :1] * batch().clip[:, 1:]
    assert torch.equal(told[:, :, 1:], shown)
    picture = Batch(batch().clip[:, :1], [""] * B, [""] * B, torch.arange(B))
    assert not ContextFrames([(0,)]).train(picture, KEYS, step(0.0, range(1))).beside.any()
    with pytest.raises(InputError, match="sets of context frames are none"):
        ContextFrames([])


def test_channels_beside_stand_side_by_side_and_one_field_has_one_condition() -> None:
    parts = [ContextFrames([(0,)]).train(batch(), KEYS, step()) for _ in range(2)]
    both = together(parts)
    assert torch.equal(both.beside, torch.cat([part.beside for part in parts], dim=2))
    assert both.without("beside").beside.shape == both.beside.shape
    assert network_inputs([ContextFrames([()]), ContextFrames([()]), FrameRate()], 3) == {
        "in_channels": 11,
        "fps": True,
    }
    with pytest.raises(InputError, match="two conditions tell fps"):
        together([Conditions(fps=torch.ones(1)), Conditions(fps=torch.ones(1))])


def test_values_are_looked_at_before_any_work() -> None:
    conditions = [prompt(), ClassLabel(["cat"]), Motion(None, PROFILES)]
    assert checked(conditions, {"prompt": ["red", "red"], "label": "cat", "motion": 0.5, "fps": None}) == []
    (warning,) = checked(conditions, {"prompt": ["blue", "blue red"]})
    assert warning.startswith("this model does not know 'blue'")
    for values, said in (
        ({"label": "cow"}, 'label "cow" is unknown'),
        ({"motion": 2.0}, r"motion is 2.0; it must lie in \[0, 1\]"),
        ({"fps": 2.0}, "fps is 2.0; this model was trained at one rate"),
        ({"promt": "red"}, 'option of sampling "promt" is unknown'),
    ):
        with pytest.raises(InputError, match=said):
            checked(conditions, values)
