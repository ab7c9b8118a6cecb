"""Inception-v3 against a second reading of the FID graph, written in torchvision's names."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from videofusion.evaluation.extractors.image_features import InceptionExtractor
from videofusion.evaluation.extractors.inception import InceptionV3, public_name


def reference(weights, x):
    def conv(x, name, stride=1, pad=(0, 0)):
        x = F.conv2d(x, weights[f"{name}.conv.weight"], stride=stride, padding=pad)
        norm = [weights[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm, eps=1e-3).relu()

    def chain(x, *steps):
        for name, *options in steps:
            x = conv(x, name, *options)
        return x

    def mean(x):  # of those of the nine neighbours that exist
        ones = torch.ones_like(x[:1, :1])
        return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(ones, 3, 1, 1)

    square, wide, tall = (1, 1), (0, 3), (3, 0)
    x = chain(x, ("Conv2d_1a_3x3", 2), ("Conv2d_2a_3x3",), ("Conv2d_2b_3x3", 1, square))
    x = F.max_pool2d(x, 3, 2)
    x = F.max_pool2d(chain(x, ("Conv2d_3b_1x1",), ("Conv2d_4a_3x3",)), 3, 2)
    for b in ("Mixed_5b.branch", "Mixed_5c.branch", "Mixed_5d.branch"):
        five = chain(x, (b + "5x5_1",), (b + "5x5_2", 1, (2, 2)))
        double = chain(x, (b + "3x3dbl_1",), (b + "3x3dbl_2", 1, square), (b + "3x3dbl_3", 1, square))
        x = torch.cat([conv(x, b + "1x1"), five, double, conv(mean(x), b + "_pool")], 1)
    b = "Mixed_6a.branch"
    double = chain(x, (b + "3x3dbl_1",), (b + "3x3dbl_2", 1, square), (b + "3x3dbl_3", 2))
    x = torch.cat([conv(x, b + "3x3", 2), double, F.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_6b.branch", "Mixed_6c.branch", "Mixed_6d.branch", "Mixed_6e.branch"):
        seven = chain(x, (b + "7x7_1",), (b + "7x7_2", 1, wide), (b + "7x7_3", 1, tall))
        double = chain(x, (b + "7x7dbl_1",), (b + "7x7dbl_2", 1, tall), (b + "7x7dbl_3", 1, wide))
        double = chain(double, (b + "7x7dbl_4", 1, tall), (b + "7x7dbl_5", 1, wide))
        x = torch.cat([conv(x, b + "1x1"), seven, double, conv(mean(x), b + "_pool")], 1)
    b = "Mixed_7a.branch"
    three = chain(x, (b + "3x3_1",), (b + "3x3_2", 2))
    seven = chain(x, (b + "7x7x3_1",), (b + "7x7x3_2", 1, wide), (b + "7x7x3_3", 1, tall), (b + "7x7x3_4", 2))
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for b, pooled in (("Mixed_7b.branch", mean), ("Mixed_7c.branch", lambda x: F.max_pool2d(x, 3, 1, 1))):
        three = conv(x, b + "3x3_1")
        double = chain(x, (b + "3x3dbl_1",), (b + "3x3dbl_2", 1, square))
        forks = [conv(three, b + "3x3_2a", 1, (0, 1)), conv(three, b + "3x3_2b", 1, (1, 0))]
        forks += [conv(double, b + "3x3dbl_3a", 1, (0, 1)), conv(double, b + "3x3dbl_3b", 1, (1, 0))]
        x = torch.cat([conv(x, b + "1x1"), *forks, conv(pooled(x), b + "_pool")], 1)
    return x.mean((2, 3))


def test_equals_the_reference(randomise):
    network = randomise(InceptionV3())
    weights = {public_name(name): value for name, value in network.state_dict().items()}
    x = torch.rand(1, 3, 75, 93, generator=torch.Generator().manual_seed(1)) * 2 - 1
    out = network(x)
    pool = reference(weights, x)
    assert out["pool"].shape == (1, 2048)
    assert out["logits"].shape == (1, 1008)
    assert pool.std() > 0.1
    torch.testing.assert_close(out["pool"], pool, atol=1e-4, rtol=1e-5)
    logits = pool @ weights["fc.weight"].T
    torch.testing.assert_close(out["logits"], logits, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(out["logits_biased"], logits + weights["fc.bias"], atol=1e-4, rtol=1e-5)


class Seen(torch.nn.Module):
    """Gives back what it is shown."""

    def forward(self, x):
        return {"pool": x.flatten(1), "logits": x.flatten(1), "logits_biased": x.flatten(1)}


def test_both_ways_to_the_network():
    level = torch.tensor([0.0, 128.0, 255.0])
    clips = (level / 127.5 - 1)[None, :, None, None, None].expand(1, 3, 3, 8, 10)
    for tensorflow, wanted in ((True, (level - 128) / 128), (False, level / 127.5 - 1)):
        extractor = InceptionExtractor(Seen(), name="a", checksum="b", tensorflow=tensorflow)
        shown = extractor.features(clips)
        assert shown.shape == (3, 3 * 299 * 299)
        torch.testing.assert_close(shown, wanted[:, None].expand_as(shown), atol=1e-6, rtol=0)
