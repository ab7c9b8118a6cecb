"""What a model costs, counted."""

import json

import pytest
import torch
from torch import nn

from videofusion.comparison.cost import call_gflops, cost, cost_apart
from videofusion.errors import RunError
from videofusion.evaluation.making import Sampling
from videofusion.models import load


class Line(nn.Module):
    """A network of one matrix, called for clips."""

    def __init__(self, size):
        super().__init__()
        self.matrix = nn.Linear(size, size, bias=False)

    def forward(self, z):
        return self.matrix(z)


def test_a_call_is_each_network_once_for_one_clip_however_often_it_is_called():
    base, residual = Line(8), Line(8)

    def sample(times, clips):
        with torch.no_grad():
            for _ in range(times):
                base(torch.zeros(clips, 1, 8))  # of one frame
                residual(torch.zeros(clips, 5, 8))

    wanted = 2 * 8 * 8 * (1 + 5) / 1e9
    assert call_gflops([base, residual], lambda: sample(1, 1)) == pytest.approx(wanted)
    assert call_gflops([base, residual], lambda: sample(3, 4)) == pytest.approx(wanted)


def test_guidance_and_steps_are_not_in_a_call(saved_model):
    pipe = load(saved_model, device="cpu")

    def sample(**more):
        return call_gflops(pipe.networks, lambda: pipe(["red"] * more.pop("clips", 1), **more))

    once = sample(steps=1, guidance=1.0)
    assert once > 0
    assert sample(steps=2, guidance=3.0, clips=2) == pytest.approx(once, rel=1e-6)


class Attention(nn.Module):
    def forward(self, z):
        return nn.functional.scaled_dot_product_attention(z, z, z)


def test_attention_is_counted():
    network = Attention()
    # a product of queries and keys, and one with the values: of 5 tokens of 8 features, in 2 heads
    wanted = 2 * 2 * (2 * 5 * 5 * 8) / 1e9
    assert call_gflops([network], lambda: network(torch.zeros(3, 2, 5, 8))) == pytest.approx(wanted)


def test_a_model_has_its_parameters_seconds_and_memory(saved_model):
    found = cost(saved_model, "red three", Sampling(steps=2, batch=32), threads=1)
    pipe = load(saved_model, device="cpu")
    modules = (pipe.unet, pipe.text_encoder)
    assert found["parameters"] == sum(p.numel() for module in modules for p in module.parameters())
    assert found["sampling_seconds"] > 0
    assert found["peak_bytes"] is None or found["peak_bytes"] >= 0
    assert found["measured_with"]["clips"] == 4
    json.dumps(found)


def test_a_call_costs_the_same_whatever_frames_are_given(saved_model):
    plain, given = (
        cost(saved_model, "red three", Sampling(steps=2, batch=1, given=some, weight=float(some)), threads=1)
        for some in (0, 1)
    )
    assert given["gflops"] == plain["gflops"]
    assert given["sampling_seconds"] > 0


@pytest.mark.slow
def test_what_fails_in_the_other_process_is_a_sentence(tmp_path):
    with pytest.raises(RunError, match=r"could not be measured: .*no-such-model"):
        cost_apart(tmp_path / "no-such-model", "red", Sampling(), 1)
