"""Clips of one's own data: real ones that nothing was trained on, and a protocol over live clips."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videofusion.comparison.compare import Budget
from videofusion.comparison.held_out import ProtocolMeasure, held_out_measure, protocol_measure
from videofusion.comparison.systems import Alike, Shape, choose_measure
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling
from videofusion.recipes.catalogue import get_recipe
from videofusion.training.batches import training_data
from videofusion.training.world import World

KEYS = {
    "clips.size": 32,
    "clips.frames": 8,
    "clips.validation_share": 0.4,
    "clips.per_video": 1,
    "batch.size": 2,
    "batch.workers": 0,
}
RECIPE = get_recipe("folder64-small", KEYS)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Forty clips of moving digits, in an array."""
    folder = tmp_path_factory.mktemp("clips")
    made = render(evaluation_prompts(40, held_out=False, seed=3, frames=8), 8, 32)
    np.save(folder / "clips.npy", ((made + 1) * 127.5).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy())
    return folder


class Model:
    """Makes clips of moving digits, or noise."""

    config = SimpleNamespace(frames=8, height=32, width=32)

    def __init__(self, noise=0.0):
        self.noise, self.asked, self.known = noise, [], []

    def __call__(self, prompt, *, seed, steps, sampler, guidance, known=None):
        self.known.append(known)
        self.asked.append((list(prompt), list(seed), steps))
        specs = evaluation_prompts(max(seed) + 1, held_out=False, seed=9, frames=8)
        made = render([specs[i] for i in seed], 8, 32)
        return (made + self.noise * torch.randn(made.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def test_real_clips_are_those_that_no_run_trained_on(clips):
    measure = held_out_measure(RECIPE, clips, 32, allow_few=True)
    trained = set(training_data(RECIPE, clips, World())[0].dataset.names)
    assert len(trained) == 24
    assert len(measure.against) == 16 * 2  # two windows of each, to have as many as are made
    assert "16 videos that no run trained on" in measure.note
    assert "not comparable with published numbers" in measure.note
    assert measure.prompt() == "clip"  # there are no captions
    assert measure.real() is None


def test_noise_is_further_from_real_clips_than_clips_are(clips):
    measure = held_out_measure(RECIPE, clips, 32, allow_few=True)
    near, far = Model(), Model(0.5)
    sampling = Sampling(steps=3, batch=12)
    good, bad = (measure(model, sampling) for model in (near, far))
    for name in ("quality", "motion", "flicker"):
        assert good.row[name]["value"] < bad.row[name]["value"], name
    at_base = good.row["change_at_base_frame"]
    assert (at_base["clips"], at_base["still"]) == (32, 0)
    assert at_base["median"] == pytest.approx(at_base["of_real"], abs=0.2)  # both are clips of digits
    assert good.row["flicker"]["of_real"] == bad.row["flicker"]["of_real"] > 0
    assert set(good.row["measures"]) >= {"quality", "motion", "precision", "recall", "flicker"}
    # in batches, each clip once, seeds in order; the first clips are shown
    assert [len(seeds) for _, seeds, _ in near.asked] == [12, 12, 8]
    assert [seed for _, seeds, _ in near.asked for seed in seeds] == list(range(32))
    assert {steps for *_, steps in near.asked} == {3}
    assert good.clips.shape == (4, 8, 3, 32, 32)
    assert good.captions == ["clip"] * 4


def test_few_clips_need_a_flag_and_a_protocol_its_own_data(clips, tmp_path):
    with pytest.raises(InputError, match="under 256"):
        held_out_measure(RECIPE, clips, 32)
    with pytest.raises(InputError, match="have 4 frames, but embedded takes 8 or more"):  # before anything is trained
        held_out_measure(RECIPE.replace({"clips.frames": 4}), clips, 32, allow_few=True)
    with pytest.raises(InputError, match="no run makes any"):
        protocol_measure("paired", RECIPE, clips, {}, clips=32, allow_few=True)
    with pytest.raises(InputError, match='protocol is "fvd"'):
        protocol_measure("fvd", RECIPE, clips, {})
    with pytest.raises(InputError, match="under 256"):
        choose_measure(Alike(RECIPE, Shape(8, 32, 32)), Budget(clips=32), str(clips))


def test_a_protocol_takes_its_real_clips_as_it_says(clips):
    from videofusion.evaluation.extractors import load_extractor

    networks = {"embedded": load_extractor("embedded")}
    measure = protocol_measure("embedded", RECIPE, clips, networks, clips=32, allow_few=True)
    assert (measure.preset.size, measure.preset.frames, measure.preset.count) == (32, 8, 32)
    found = measure(Model(), Sampling(steps=1, batch=16))
    assert found.row["protocol"]["name"] == "embedded"
    assert "coverage" in found.row["measures"]


def test_a_protocol_of_predictions_gives_each_clip_its_real_ones_first_frames(clips):
    usual = held_out_measure(RECIPE, clips, 32, allow_few=True)
    preset = replace(usual.preset, given=3, count=40)
    measure = ProtocolMeasure(preset, usual.against, usual.extractors, allow_few=True)
    model = Model()
    measure(model, Sampling(steps=1, batch=16, weight=1.5))
    given = torch.cat([known.frames for known in model.known])
    assert {(known.at, known.weight) for known in model.known} == {((0, 1, 2), 1.5)}
    assert len(given) == 40
    for number in (0, 31, 32, 39):  # more clips than real ones: those begin anew
        assert torch.equal(given[number], usual.against.clip(number % 32)[:3])
