"""The same features and frames through torchmetrics."""

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import nn

from videofusion.evaluation.metrics.frechet import feature_distance
from videofusion.evaluation.metrics.inception_score import inception_score
from videofusion.evaluation.metrics.kernel import kernel_distance, polynomial_mmd
from videofusion.evaluation.metrics.reconstruction import clip_psnr, psnr, ssim

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(400, 24)) @ RNG.normal(size=(24, 24)) / 5
MADE = RNG.normal(size=(300, 24)) @ RNG.normal(size=(24, 24)) / 5 + 0.2
CLIPS = torch.rand(2, 3, 3, 20, 24, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
NOISY = (CLIPS + 0.3 * torch.randn(CLIPS.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


class Given(nn.Module):
    """Features that are there already."""

    num_features = 24

    def forward(self, features):
        return features


def torchmetrics(module):
    return pytest.importorskip(f"torchmetrics.{module}")


def fed(metric, real=REAL):
    metric.update(torch.from_numpy(real), real=True)
    metric.update(torch.from_numpy(MADE), real=False)
    return metric.compute()


def test_frechet_distance():
    theirs = fed(torchmetrics("image.fid").FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64))
    assert feature_distance(REAL, MADE) == pytest.approx(theirs.item(), rel=1e-6)


def test_kernel_distance():
    subsets, size = 5, 100
    theirs = torchmetrics("image.kid").KernelInceptionDistance
    torch.manual_seed(3)
    mean, deviation = fed(theirs(feature=Given(), subsets=subsets, subset_size=size))
    torch.manual_seed(3)
    found = []
    for _ in range(subsets):
        real, made = REAL[torch.randperm(400)[:size].numpy()], MADE[torch.randperm(300)[:size].numpy()]
        found.append(polynomial_mmd(real, made))
    assert np.mean(found) == pytest.approx(mean.item(), rel=1e-6)
    assert np.std(found) == pytest.approx(deviation.item(), rel=1e-6)
    # All of equally many samples are one subset, whatever the draw.
    expected, _ = fed(theirs(feature=Given(), subsets=2, subset_size=300), REAL[:300])
    assert kernel_distance(REAL[:300], MADE, subsets=2, size=300).value == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score(splits):
    logits = torch.from_numpy(3 * REAL)
    metric = torchmetrics("image.inception").InceptionScore(feature=Given(), splits=splits)
    metric.update(logits)
    torch.manual_seed(4)
    mean, deviation = metric.compute()
    torch.manual_seed(4)
    ours = inception_score(logits=logits[torch.randperm(400)].numpy(), splits=splits)
    assert ours.value == pytest.approx(mean.item(), rel=1e-6)
    if splits > 1:  # theirs is the sample's deviation, ours the population's, as in the score's first code
        assert ours.deviation == pytest.approx(deviation.item() * (1 - 1 / splits) ** 0.5, rel=1e-6)


def test_psnr():
    theirs = torchmetrics("image").PeakSignalNoiseRatio
    frames = theirs(data_range=2.0, reduction="none", dim=(2, 3, 4))(NOISY, CLIPS).double().reshape(2, 3)
    torch.testing.assert_close(psnr(NOISY, CLIPS, value_range=(-1, 1)), frames, rtol=1e-6, atol=1e-6)
    clips = theirs(data_range=2.0, reduction="none", dim=(1, 2, 3, 4))(NOISY, CLIPS).double()
    torch.testing.assert_close(clip_psnr(NOISY, CLIPS, value_range=(-1, 1)), clips, rtol=1e-6, atol=1e-6)


def test_ssim():
    frames = (rearrange(x / 2 + 0.5, "b t c h w -> (b t) c h w") for x in (NOISY, CLIPS))
    measure = torchmetrics("functional.image").structural_similarity_index_measure
    _, everywhere = measure(*frames, data_range=1.0, sigma=1.5, return_full_image=True)
    # Where the window lies within the frame, as in the paper; theirs is over mirrored borders too.
    expected = everywhere[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).reshape(2, 3)
    torch.testing.assert_close(ssim(NOISY, CLIPS, value_range=(-1, 1)), expected, rtol=1e-6, atol=1e-6)
