"""Kernel distances: of samples that can be counted by hand, and without bias over Gaussians."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.metrics import kernel
from videofusion.evaluation.metrics.kernel import ClipKernels, kernel_distance, polynomial_mmd


def test_two_and_two_samples_by_hand():
    # k(x, y) = (x y + 1)³: within 1 and 1, across (1 + 1 + 1 + 27) / 4.
    assert polynomial_mmd([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(1 + 1 - 2 * 30 / 4)


def test_unbiased_over_gaussians():
    # d = 1: E k is 1 + 3 E x E y + 3 E x² E y² + E x³ E y³.
    m = 0.6
    first, second = (0, 1, 0), (m, 1 + m**2, m**3 + 3 * m)

    def expected(a, b):
        return 1 + 3 * a[0] * b[0] + 3 * a[1] * b[1] + a[2] * b[2]

    truth = expected(first, first) + expected(second, second) - 2 * expected(first, second)
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(rng.normal(size=(30, 1)), rng.normal(m, 1, size=(20, 1))) for _ in range(3000)]
    error = np.std(found) / len(found) ** 0.5
    assert error < 0.1 * truth
    assert abs(np.mean(found) - truth) < 4 * error


def test_blocks_sum_to_the_whole(monkeypatch):
    rng = np.random.default_rng(1)
    real, made = rng.normal(size=(40, 5)), rng.normal(size=(23, 5))
    kxx, kyy, kxy = ((a @ b.T / 5 + 1) ** 3 for a, b in ((real, real), (made, made), (real, made)))
    expected = (kxx.sum() - kxx.trace()) / (40 * 39) + (kyy.sum() - kyy.trace()) / (23 * 22) - 2 * kxy.mean()
    assert polynomial_mmd(real, made) == pytest.approx(expected)
    monkeypatch.setattr(kernel, "_BLOCK", 7)
    assert polynomial_mmd(real, made) == pytest.approx(expected)
    assert polynomial_mmd(real[::-1], made[::-1]) == pytest.approx(expected)


def test_error_over_subsets_shrinks_with_their_size_and_holds_the_whole():
    rng = np.random.default_rng(2)
    real, made = rng.normal(size=(400, 4)), rng.normal(0.3, 1, size=(400, 4))
    small, large = (kernel_distance(real, made, subsets=40, size=size) for size in (20, 200))
    assert large.deviation < small.deviation / 2
    whole = polynomial_mmd(real, made)
    assert abs(large.value - whole) < 4 * large.deviation / 40**0.5
    assert kernel_distance(real, made, subsets=40, size=20) == small
    assert kernel_distance(real, made, subsets=2, size=400).value == pytest.approx(whole)


@pytest.mark.parametrize("block", [1024, 7])
def test_of_clips_it_is_that_of_all_pairs_of_frames_of_two_clips(block, monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK", block)
    rng = np.random.default_rng(3)
    real, made = rng.normal(size=(9, 3, 5)), rng.normal(0.2, 1, size=(6, 3, 5))
    of_clips = ClipKernels(real, made)

    def expected(real, made):
        total = -2 * np.mean([(x @ y / 5 + 1) ** 3 for x in real.reshape(-1, 5) for y in made.reshape(-1, 5)])
        for clips in (real, made):
            pairs = [(x, y) for i, a in enumerate(clips) for j, b in enumerate(clips) if i != j for x in a for y in b]
            total += np.mean([(x @ y / 5 + 1) ** 3 for x, y in pairs])
        return total

    assert of_clips.distance(*of_clips.clips) == pytest.approx(expected(real, made), rel=1e-10)
    # A clip that is drawn twice is two clips, as a bootstrap has them.
    one, two = np.array([0, 4, 4, 7]), np.array([5, 2, 5])
    assert of_clips.distance(one, two) == pytest.approx(expected(real[one], made[two]), rel=1e-10)


def test_of_clips_it_is_unbiased_however_alike_the_frames_of_a_clip_are():
    """Clips that stand still, x ~ N(m, 1) in every frame: the truth is that of single frames, in closed form."""
    m = 0.6
    truth = (1 + 3) + (1 + 3 * m**2 + 3 * (1 + m**2) ** 2 + (m**3 + 3 * m) ** 2) - 2 * (1 + 3 * (1 + m**2))
    rng, frames = np.random.default_rng(4), 4
    found, all_pairs = [], []
    for _ in range(2000):
        real, made = (np.repeat(rng.normal(mean, 1, (n, 1, 1)), frames, axis=1) for mean, n in ((0, 30), (m, 20)))
        of_clips = ClipKernels(real, made)
        found.append(of_clips.distance(*of_clips.clips))
        all_pairs.append(polynomial_mmd(real.reshape(-1, 1), made.reshape(-1, 1)))
    error = np.std(found) / len(found) ** 0.5
    assert error < 0.1 * truth
    assert abs(np.mean(found) - truth) < 4 * error
    assert np.mean(all_pairs) - truth > 10 * error  # pairs within a clip taken for independent ones


def test_of_clips_of_one_frame_it_is_that_of_single_samples():
    rng = np.random.default_rng(5)
    real, made = rng.normal(size=(9, 1, 5)), rng.normal(size=(6, 1, 5))
    of_clips = ClipKernels(real, made)
    assert of_clips.distance(*of_clips.clips) == pytest.approx(polynomial_mmd(real[:, 0], made[:, 0]), rel=1e-10)


def test_bad_input_is_refused():
    features = np.zeros((20, 3))
    with pytest.raises(InputError, match="size is 1000"):
        kernel_distance(features, features)
    with pytest.raises(InputError, match="must be equal"):
        polynomial_mmd(features, np.zeros((20, 4)))
    with pytest.raises(InputError, match="made"):
        polynomial_mmd(features, np.zeros((1, 3)))
    with pytest.raises(InputError, match=r"one t and d, not of shapes \(4, 2, 3\), \(4, 3, 3\)"):
        ClipKernels(np.zeros((4, 2, 3)), np.zeros((4, 3, 3)))
    with pytest.raises(InputError, match="made 1; they must be finite"):
        ClipKernels(np.zeros((4, 2, 3)), np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match="must be finite"):
        ClipKernels(np.zeros((4, 2, 3)), np.full((4, 2, 3), np.nan))
