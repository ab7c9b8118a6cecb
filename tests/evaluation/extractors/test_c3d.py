"""C3D against a second reading of the architecture, at a small part of its width."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from videofusion.evaluation.extractors.c3d import C3D, public_name


def reference(weights, x, centred):
    """Plain poolings over what is padded by hand: after a ReLU zeros are as good as nothing."""

    def conv(x, name):
        return F.conv3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()

    x = F.max_pool3d(conv(x - weights["mean"], "conv1"), (1, 2, 2))
    x = F.max_pool3d(conv(x, "conv2"), 2)
    for stage in ("3", "4"):
        x = F.max_pool3d(conv(conv(x, f"conv{stage}a"), f"conv{stage}b"), 2)
    x = conv(conv(x, "conv5a"), "conv5b")
    x = F.max_pool3d(F.pad(x, (1, 1, 1, 1) if centred else (0, 1, 0, 1)), 2)
    layers = {}
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        layers[name] = x = F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
    return layers | {"logits": F.linear(x, weights["fc8.weight"], weights["fc8.bias"])}


@pytest.mark.parametrize(("classes", "centred"), [(101, False), (487, True)])
def test_equals_the_reference(randomise, classes, centred):
    network = randomise(C3D(classes, width=2, centred=centred))
    weights = {public_name(name): value for name, value in network.state_dict().items()}
    x = torch.rand(1, 3, 16, 112, 112, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = network(x)
    wanted = reference(weights, x, centred)
    assert not torch.allclose(wanted["logits"], reference(weights, x, not centred)["logits"], atol=1e-2)
    assert list(out) == ["fc7", "fc6", "logits"]
    assert out["logits"].shape == (1, classes)
    assert wanted["logits"].std() > 0.1
    for layer, value in wanted.items():
        torch.testing.assert_close(out[layer], value, atol=1e-4, rtol=1e-5)


def test_sizes_are_the_papers():
    with torch.device("meta"):
        network = C3D()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["conv5b.weight"] == (512, 512, 3, 3, 3)
    assert (shapes["fc6.weight"], shapes["fc7.weight"]) == ((4096, 8192), (4096, 4096))
    assert shapes["fc8.weight"] == (101, 4096)
