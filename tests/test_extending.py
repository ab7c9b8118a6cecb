"""The examples of docs/extending.md: run as they are printed, each does what the page says."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from videofusion.clip import write_clip
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.kernels import make_noise
from videofusion.diffusion.noise import Keys
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers import get_sampler
from videofusion.diffusion.schedules import Cosine

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
TABLES = {
    "videofusion.data.layouts.detection": ["LAYOUTS"],
    "videofusion.diffusion.kernels": ["KINDS"],
    "videofusion.diffusion.samplers": ["SAMPLERS"],
    "videofusion.evaluation.metric_table": ["ADDED"],
    "videofusion.evaluation.metrics.means": ["MEANS"],
    "videofusion.networks.inputs": ["EMBEDDED"],
    "videofusion.networks.temporal.design": ["LAYERS", "TEMPORAL_DESIGNS"],
    "videofusion.registry": ["_registered"],
}


def example(title: str) -> str:
    """The Python of a section."""
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert section is not None
    found = re.findall(r"^```python\n(.*?)^```", section[1], flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The namespace of a module for examples; what they add to tables is gone afterwards."""
    module = ModuleType("extending")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    tables = [getattr(importlib.import_module(place), table) for place, names in TABLES.items() for table in names]
    before = [dict(table) for table in tables]
    yield vars(module)
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def run(title: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(example(title), f"docs/extending.md, {title}", "exec"), names)
    return names


def test_a_sampler_of_second_order(names):
    run("A sampler", names)

    def exact(z, t, conditions):  # of clips with variance 1/4
        alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in Cosine().alpha_sigma(t))
        x0 = alpha / 4 / (alpha**2 / 4 + sigma**2) * z
        return Prediction(z=z, x0=x0, eps=(z - alpha * x0) / sigma, alpha=alpha, sigma=sigma)

    start = torch.full((1, 1, 1, 1, 1), 1.5, dtype=torch.float64)

    def off(name: str, steps: int) -> float:
        times = torch.linspace(0.999, 0.05, steps + 1).double()
        made = get_sampler(name)(exact, start, times, schedule=Cosine(), conditions=Conditions())
        alpha, sigma = Cosine().alpha_sigma(times)
        scale = (alpha**2 / 4 + sigma**2).sqrt()
        return abs(float(made) - 1.5 * float(scale[-1] / scale[0]))

    assert off("trapezoid", 40) < off("ddim", 40) / 5
    assert off("trapezoid", 20) / off("trapezoid", 40) == pytest.approx(4, abs=1)


def test_a_noise_source(names):
    run("A noise source", names)
    covariance = make_noise("looped", 6).covariance(frames=range(12))[0]
    assert float(covariance[0, 6]) == pytest.approx(0.99)
    drawn = make_noise("looped", 6).draw((2, 12, 3, 32, 32), Keys((1, 2), (3, 4)), 0).eps
    assert float((drawn[:, 0] * drawn[:, 6]).mean()) == pytest.approx(0.99, abs=0.06)
    assert drawn.var(dim=(0, 2, 3, 4)).sub(1).abs().max() < 0.1


def test_a_metric(names):
    run("A metric", names)
    from videofusion.evaluation.metric_table import chosen
    from videofusion.evaluation.metrics.means import MEANS, Seen
    from videofusion.evaluation.protocol_table import find_preset

    (metric,) = chosen(find_preset("embedded"), ["contrast"])
    clips = torch.zeros(2, 4, 3, 8, 8)
    clips[1, 2, :, :4] = 1
    value = MEANS[metric.kind].of(Seen(clips, ["a", "b"], {}), "", "")
    assert value.shape == (2, 4)
    assert (value > 0).nonzero().tolist() == [[1, 2]]


def test_a_layout(names, tmp_path):
    run("A data layout", names)
    from videofusion.data.layouts.detection import open_source

    write_clip(torch.zeros(4, 3, 32, 32), tmp_path / "a_dog_runs.mp4")
    (item,) = open_source(tmp_path, "named").items
    assert item.caption == "a dog runs"
    assert len(item.open()) == 4


@torch.no_grad()
def test_a_temporal_layer_and_a_row(names):
    run("A temporal layer, and a row", names)
    from videofusion.networks.unet import UNet

    sizes = {"channels": (8, 16), "blocks": 1, "attention": ("none", "none"), "groups": 4, "heads": 2}
    video, image = UNet(**sizes, temporal="swaying"), UNet(**sizes)
    image.load_state_dict(video.spatial_state(), strict=True)
    z, time = torch.randn(1, 3, 3, 8, 8), torch.tensor([3.0])
    torch.testing.assert_close(video(z, time), image(z, time))
    for name, parameter in video.named_parameters():
        if name.endswith(".scale"):
            parameter.fill_(0.5)
    assert not torch.allclose(video(z, time), image(z, time), atol=1e-3)


def test_a_condition_and_a_system(names):
    run("A temporal layer, and a row", names)
    run("A condition", names)
    run("A system in your own package", names)
    from videofusion.conditioning.condition import Step
    from videofusion.registry import get_system

    assert get_system("swaying") is names["Swaying"]
    batch = SimpleNamespace(clip=torch.full((2, 3, 3, 4, 4), 0.25))
    keys, step = Keys((1, 2), (1, 2)), Step(number=0, frames=range(3), dropout=0.0)
    said = names["Brightness"]().train(batch, keys, step)
    assert said.added["brightness"].tolist() == [0.25, 0.25]
    assert said.without("brightness").added["brightness"].tolist() == [-2.0, -2.0]
