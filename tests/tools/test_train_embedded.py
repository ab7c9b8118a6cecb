"""The training of the embedded network: what it draws, and that one seed gives the same weights."""

import numpy as np
import pytest
import torch

from tools import train_embedded
from tools.train_embedded import (
    OF_CLIPS,
    OF_FRAMES,
    Heads,
    digit_videos,
    draw,
    recoloured,
    view_losses,
)
from tools.windows import Windows
from videofusion.evaluation.extractors.embedded_network import SIDE, EmbeddedNetwork, load_network


@pytest.fixture(scope="module")
def windows():
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 80, 100, 3)).astype(np.uint8)
    return Windows([[noise], digit_videos(3, 1)], 16, SIDE)


@pytest.fixture(scope="module")
def views(windows):
    return draw(windows, np.random.default_rng(3), torch.Generator())


def test_views_come_in_pairs_that_are_spoiled_alike(views):
    half = len(views.clips) // 2
    assert views.clips.abs().max() <= 1 + 1e-6
    assert views.frames.shape == (2 * half, len(OF_FRAMES))
    assert views.clip.shape == (2 * half, len(OF_CLIPS))
    assert torch.equal(views.frames[:half], views.frames[half:])
    assert 0 < views.clip.amax() <= 1
    same = views.same_crop
    assert same.any()
    assert torch.equal(views.taken[:half][same], views.taken[half:][same])


def test_other_colours_leave_the_shapes():
    clip = torch.rand(2, 1, 4, 4).expand(2, 3, 4, 4) * 0.4
    found = recoloured(clip, np.random.default_rng(0))
    together = torch.corrcoef(torch.stack([clip[:, 0].flatten(), found[:, 0].flatten()]))
    assert abs(together[0, 1]) > 0.999
    assert not torch.allclose(found, clip, atol=0.05)


def test_the_losses_reach_every_weight(views):
    network, heads = EmbeddedNetwork(), Heads()
    losses = view_losses(network, heads, views)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in [*network.named_parameters(), *heads.named_parameters()]:
        assert parameter.grad is not None, name


def test_a_seed_gives_the_same_weights_and_they_survive_their_file(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(train_embedded, "_PAIRS", 4)
    one, two = (train_embedded.train(windows, 2, seed=5) for _ in range(2))
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name
    train_embedded.save(one, tmp_path / "w.safetensors")
    read = load_network(tmp_path / "w.safetensors").state_dict()
    for name, weight in one.state_dict().items():
        assert torch.allclose(weight, read[name], rtol=1e-3, atol=1e-4), name
