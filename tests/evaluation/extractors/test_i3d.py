"""I3D against a second reading of the architecture: functions, TensorFlow's padding, the public names."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from videofusion.evaluation.extractors.i3d import I3D, _Pool, public_name

BLOCKS = ["3b", "3c", "pool", "4b", "4c", "4d", "4e", "4f", "last pool", "5b", "5c"]


def same(x, kernel, stride):
    """Padding by TensorFlow's rule: as many outputs as strides begin in the input."""
    pads = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - s if size % s == 0 else k - size % s, 0)
        pads.append((total // 2, math.ceil(total / 2)))
    return F.pad(x, [side for pair in reversed(pads) for side in pair])


def reference(weights, x, eps):
    def unit(x, name, kernel, stride=1):
        x = F.conv3d(same(x, [kernel] * 3, [stride] * 3), weights[f"{name}.conv3d.weight"], stride=stride)
        norm = [weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm, eps=eps).relu()

    def pool(x, kernel, stride):
        return F.max_pool3d(same(x, kernel, stride), kernel, stride)

    x = pool(unit(x, "Conv3d_1a_7x7", 7, 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "Conv3d_2b_1x1", 1), "Conv3d_2c_3x3", 3), (1, 3, 3), (1, 2, 2))
    for block in BLOCKS:
        if block == "pool":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        elif block == "last pool":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        else:
            name = f"Mixed_{block}"
            two = [unit(unit(x, f"{name}.b{i}a", 1), f"{name}.b{i}b", 3) for i in (1, 2)]
            pooled = unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b", 1)
            x = torch.cat([unit(x, f"{name}.b0", 1), *two, pooled], 1)
    pairs = F.avg_pool3d(x, (2, *x.shape[3:]), 1)
    logits = F.conv3d(pairs, weights["logits.conv3d.weight"][..., None, None, None], weights["logits.conv3d.bias"])
    return pairs.mean((2, 3, 4)), logits.mean((2, 3, 4))


@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (2, 2, 2)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_a_maximum_by_axes_has_the_same_bits(kernel, stride):
    x = torch.randn(2, 3, 5, 9, 8, generator=torch.Generator().manual_seed(2)).relu()
    assert torch.equal(_Pool(kernel, stride)(x), F.max_pool3d(same(x, kernel, stride), kernel, stride))


@pytest.mark.parametrize(("shape", "eps"), [((16, 32, 32), 1e-3), ((9, 33, 47), 1e-5)])
def test_equals_the_reference(randomise, shape, eps):
    network = randomise(I3D(eps=eps))
    weights = {public_name(name): value for name, value in network.state_dict().items()}
    x = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = network(x)
    pool, logits = reference(weights, x, eps)
    assert out["pool"].shape == (1, 1024)
    assert out["logits"].shape == (1, 400)
    assert logits.std() > 0.1
    torch.testing.assert_close(out["pool"], pool, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(out["logits"], logits, atol=1e-4, rtol=1e-5)


def test_public_names_and_size():
    with torch.device("meta"):
        network = I3D()
    names = {public_name(name) for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert len(names) == 57 * 5 + 2
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_4f.b2b.bn.running_var", "logits.conv3d.bias"} <= names
    # the parameters that piergiaj's network has with 400 classes
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
