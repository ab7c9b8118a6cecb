"""Noise: its covariance, and that a draw depends on its keys, its step and its frame numbers alone."""

from __future__ import annotations

import pytest
import torch

from videofusion import keys
from videofusion.diffusion import DecomposedNoise, IndependentNoise, Keys, base_frame, bind, noise
from videofusion.errors import InputError
from videofusion.keys import Stream

SHAPE = (2, 5, 3, 32, 32)
KEYS = Keys.of([11, 12])
PER_FRAME = torch.tensor([[0.1, 0.4, 1.0, 0.7, 0.0], [0.9, 0.9, 1.0, 0.2, 0.5]])


def test_a_draw_is_the_two_parts_mixed() -> None:
    drawn = DecomposedNoise(0.3).draw(SHAPE, KEYS, 0)
    share = torch.tensor([0.3, 0.3, 1.0, 0.3, 0.3]).reshape(1, 5, 1, 1, 1)
    assert drawn.base.shape == (2, 1, 3, 32, 32)
    torch.testing.assert_close(drawn.eps, share.sqrt() * drawn.base + (1 - share).sqrt() * drawn.residual)
    middle = base_frame(5)
    assert torch.equal(drawn.eps[:, middle], drawn.base[:, 0])  # eq. (11)


@pytest.mark.parametrize("share", [None, PER_FRAME], ids=["fixed", "per clip and frame"])
def test_covariance_between_frames_is_the_root_of_the_shares(share: torch.Tensor | None) -> None:
    source = DecomposedNoise(0.5)
    draws = torch.stack([source.draw(SHAPE, KEYS, step, share).eps for step in range(4)], dim=2)
    samples = draws.flatten(2)  # [b t n]
    measured = samples @ samples.mT / samples.shape[2]
    used = source.shares(2, 5) if share is None else share
    expected = source.covariance(used)
    torch.testing.assert_close(measured, expected, rtol=0, atol=0.05)  # 12288 numbers: 5 standard errors
    torch.testing.assert_close(expected.diagonal(dim1=1, dim2=2), torch.ones(2, 5))
    torch.testing.assert_close(expected[1, 0, 3], (used[1, 0] * used[1, 3]).sqrt())
    if share is None:  # what a caller gets who has none
        assert torch.equal(source.covariance(frames=range(7, 12)), expected[:1])
    assert samples.mean(2).abs().max() < 0.05


def test_independent_noise_is_uncorrelated() -> None:
    samples = IndependentNoise().draw(SHAPE, KEYS, 0).eps.flatten(2)
    expected = IndependentNoise().covariance(torch.full((2, 5), 0.5))
    torch.testing.assert_close(samples @ samples.mT / samples.shape[2], expected, rtol=0, atol=0.1)
    assert torch.equal(expected, torch.eye(5).expand(2, 5, 5))
    assert torch.equal(IndependentNoise().covariance(frames=[3, 9]), torch.eye(2)[None])


def test_all_shared_is_one_image_repeated_and_none_shared_is_independent() -> None:
    repeated = DecomposedNoise(1.0).draw(SHAPE, KEYS, 3)
    assert torch.equal(repeated.eps, repeated.eps[:, :1].expand_as(repeated.eps))
    apart = DecomposedNoise(0.5).draw(SHAPE, KEYS, 3, torch.zeros(2, 5))
    assert torch.equal(apart.eps, IndependentNoise().draw(SHAPE, KEYS, 3).eps)
    mixed = DecomposedNoise(0.5).draw(SHAPE, KEYS, 3)
    assert torch.equal(mixed.base, repeated.base)
    assert torch.equal(mixed.residual, apart.residual)


def test_what_nothing_is_made_of_is_not_drawn(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(noise, "normal", lambda *labels: drawn.append(labels[1]) or keys.normal(*labels))
    assert IndependentNoise().draw(SHAPE, KEYS, 0).base is None
    assert DecomposedNoise().draw(SHAPE, KEYS, 0, torch.zeros(2, 5)).base is None
    assert drawn == [Stream.RESIDUAL, Stream.RESIDUAL]
    assert DecomposedNoise().draw(SHAPE, KEYS, 0, torch.ones(2, 5)).residual is None
    assert drawn[2:] == [Stream.BASE]


def test_a_clip_does_not_depend_on_its_batch_or_on_the_order_of_draws() -> None:
    source = DecomposedNoise(0.5)
    first = [source.draw(SHAPE, KEYS, step).eps for step in (0, 1, 2)]
    alone = [source.draw((1, *SHAPE[1:]), Keys.of([12]), step).eps for step in (2, 0, 1)]
    for together, single in zip(first, [alone[1], alone[2], alone[0]], strict=True):
        assert torch.equal(together[1:], single)


def test_a_window_is_a_part_of_the_whole() -> None:
    source = DecomposedNoise(0.5)
    whole = source.draw(SHAPE, KEYS, 4, PER_FRAME).eps
    window = source.draw((2, 2, 3, 32, 32), KEYS, 4, PER_FRAME[:, 3:], frames=[3, 4]).eps
    assert torch.equal(whole[:, 3:], window)


def test_steps_frames_streams_and_seeds_have_noise_of_their_own() -> None:
    source = DecomposedNoise(0.5)
    parts = [source.draw((2, 3, 1, 8, 8), Keys.of([5, 6]), step) for step in (0, 1)]
    fields = torch.cat([part.flatten(0, 1) for drawn in parts for part in (drawn.base, drawn.residual)]).flatten(1)
    likeness = torch.corrcoef(fields) - torch.eye(len(fields))
    assert likeness.abs().max() < 0.6  # 64 numbers each: equal fields would give 1


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 - 1, 10**30])
def test_every_integer_is_a_seed(seed: int) -> None:
    eps = DecomposedNoise(0.5).draw((1, 2, 1, 2, 2), Keys.of([seed]), 0, frames=[-3, 7]).eps
    assert torch.equal(eps, DecomposedNoise(0.5).draw((1, 2, 1, 2, 2), Keys.of([seed]), 0, frames=[-3, 7]).eps)
    assert eps.isfinite().all()


def test_clips_share_content_or_motion_by_their_keys() -> None:
    drawn = DecomposedNoise(0.5).draw((3, *SHAPE[1:]), Keys.of([1, 1, 2], motion=[7, 8, 8]), 2)
    assert torch.equal(drawn.base[0], drawn.base[1])
    assert not torch.equal(drawn.base[1], drawn.base[2])
    assert torch.equal(drawn.residual[1], drawn.residual[2])
    assert not torch.equal(drawn.residual[0], drawn.residual[1])


def test_bound_noise_is_the_draw_of_that_step() -> None:
    step = bind(DecomposedNoise(0.5), SHAPE, KEYS, share=PER_FRAME)
    assert torch.equal(step(6), DecomposedNoise(0.5).draw(SHAPE, KEYS, 6, PER_FRAME).eps)


def test_bad_input_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"share is 1.5"):
        DecomposedNoise(1.5)
    for source in (DecomposedNoise(), IndependentNoise()):
        with pytest.raises(InputError, match="keys holds 2 seeds"):
            source.draw((3, 2, 1, 2, 2), KEYS, 0)
        with pytest.raises(InputError, match="share and frames are not given; a covariance needs one of them"):
            source.covariance()
    with pytest.raises(InputError, match="motion has 1 seeds"):
        Keys.of([1, 2], motion=[1])
