"""Attention over time: relative, at its own place, nothing when fresh."""

import pytest
import torch
from torch import Tensor, nn

from videofusion.networks.layers import LayerInputs
from videofusion.networks.temporal.attention import TemporalAttention, rotate, space_time_angles, time_angles

B, T, C, H, W = 2, 5, 16, 3, 4
HEADS = 2


def layer(kind: str, *, fresh: bool = False) -> TemporalAttention:
    torch.manual_seed(1)
    made = TemporalAttention(C, HEADS, 4, kind)
    if not fresh:
        nn.init.normal_(made.to_out.weight)
    return made.double()


def clip() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(B * T, C, H, W, dtype=torch.float64)


def added(made: TemporalAttention, x: Tensor, frames: Tensor, b: int = B) -> Tensor:
    return made(x, LayerInputs(torch.zeros(b * T, 1), None, None, (b, T), frames, 1.0))


every = pytest.mark.parametrize("kind", ["place", "directed", "joint"])


def plain(made: TemporalAttention, x: Tensor, frames: list[int]) -> Tensor:
    """The same with complex numbers and every score written out."""
    h = made.norm(x).unflatten(0, (B, T))  # b t c h w
    q, k, v = torch.einsum("oc,btchw->obthw", made.to_qkv.weight, h).unflatten(0, (3, HEADS, C // HEADS))
    half = C // HEADS // 2
    axes = [torch.tensor(frames)[:, None, None], torch.arange(H)[:, None], torch.arange(W)]
    places = made.kind == "joint"  # also of rows and columns
    pairs, slowest = ([half // 2, half // 4, half // 4], [100.0, 10.0, 10.0]) if places else ([half], [100.0])
    angles = [
        (axis[..., None] * last ** (-torch.arange(count).double() / count)).expand(T, H, W, count)
        for axis, count, last in zip(axes, pairs, slowest, strict=False)
    ]
    turn = torch.polar(torch.ones(()).double(), torch.cat(angles, dim=-1)).permute(3, 0, 1, 2)  # d/2 t h w

    def turned(y: Tensor) -> Tensor:  # [heads d b t h w] -> [heads d/2 b t h w], complex
        return torch.complex(y[:, :half], y[:, half:]) * turn[None, :, None]

    q, k = turned(q), turned(k)
    score = torch.einsum("gdbtij,gdbsmn->gbtijsmn", q, k.conj()).real / (C // HEADS) ** 0.5
    if made.kind == "directed":
        later = torch.arange(T)[:, None] < torch.arange(T)
        score = score.masked_fill(later[None, None, :, None, None, :, None, None], -torch.inf)
    if made.kind != "joint":
        here = torch.einsum("im,jn->ijmn", torch.eye(H), torch.eye(W)).bool()  # at the same place only
        score = score.masked_fill(~here[None, None, None, :, :, None], -torch.inf)
    share = score.flatten(5).softmax(dim=-1).unflatten(-1, (-1, H, W))
    mixed = torch.einsum("gbtijsmn,gdbsmn->btgdij", share, v).flatten(2, 3)
    out = torch.einsum("oc,btcij->btoij", made.to_out.weight, mixed) + made.to_out.bias[:, None, None]
    return out.flatten(0, 1)


@every
def test_is_attention_with_rotary_positions(kind: str) -> None:
    made, x, frames = layer(kind), clip(), [3, 4, 5, 7, 11]
    # frequencies are made in float32
    torch.testing.assert_close(added(made, x, torch.tensor(frames)), plain(made, x, frames), rtol=1e-5, atol=1e-5)


@every
def test_adds_nothing_when_fresh(kind: str) -> None:
    x = clip()
    assert not added(layer(kind, fresh=True), x, torch.arange(T)).any()


@every
def test_sees_differences_of_frame_numbers_only(kind: str) -> None:
    made, x = layer(kind), clip()
    torch.testing.assert_close(
        added(made, x, torch.arange(T)), added(made, x, torch.arange(T) + 23), rtol=1e-5, atol=1e-5
    )
    assert not torch.allclose(added(made, x, torch.arange(T)), added(made, x, 2 * torch.arange(T)), atol=1e-3)


@every
def test_clips_of_a_batch_do_not_mix(kind: str) -> None:
    made, x = layer(kind), clip()
    torch.testing.assert_close(added(made, x, torch.arange(T))[:T], added(made, x[:T], torch.arange(T), 1))


def test_places_mix_only_where_attention_is_joint() -> None:
    x = clip()
    x.requires_grad_()
    for kind in ("place", "joint"):
        made = layer(kind)
        made.norm = nn.Identity()  # which looks at all places of a frame
        (gradient,) = torch.autograd.grad(added(made, x, torch.arange(T))[0, :, 0, 0].sum(), x)
        elsewhere = gradient.clone()
        elsewhere[:, :, 0, 0] = 0
        assert bool((elsewhere != 0).any()) == (kind != "place")
        seen = [f for f in range(1, T) if bool((gradient[f, :, 0, 0] != 0).all())]
        assert seen == list(range(1, T))  # which other frames of the clip
        assert not bool((gradient[T:] != 0).any())


def test_directed_attention_does_not_leak() -> None:
    made, x, frames = layer("directed"), clip(), torch.arange(T)
    for frame in range(T):
        changed = x.clone()
        changed[frame] *= -1  # of the first clip
        moved = (added(made, changed, frames) - added(made, x, frames)).flatten(1).abs().amax(dim=1)[:T]
        assert (moved[:frame] == 0).all()
        assert (moved[frame:] > 1e-6).all()


def test_rotation_keeps_lengths_and_turns_back() -> None:
    torch.manual_seed(0)
    x, angles = torch.randn(2, T, C), time_angles(torch.arange(T), C // HEADS // 2)
    turned = rotate(x, angles)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotate(turned, -angles), x)
    assert torch.equal(turned[:, 0], x[:, 0])  # frame 0 is not turned


def test_every_place_of_space_and_time_has_its_own_angles() -> None:
    angles = space_time_angles(torch.tensor([3, 4, 7]), 4, 5, 8)
    assert angles.shape == (3 * 4 * 5, 8)
    assert len(angles.unique(dim=0)) == 3 * 4 * 5


def test_scores_see_differences_of_places_and_frames_only() -> None:
    """Moving all positions in space and time alike changes no score of attention."""
    torch.manual_seed(0)
    q, k = torch.randn(2, T * H * W, C, dtype=torch.float64)
    whole = space_time_angles(torch.arange(T + 6), H + 3, W + 2, C // 2).double().unflatten(0, (T + 6, H + 3, W + 2))
    here, there = whole[:T, :H, :W].flatten(0, 2), whole[6:, 3:, 2:].flatten(0, 2)
    scores = rotate(q, here) @ rotate(k, here).T
    torch.testing.assert_close(rotate(q, there) @ rotate(k, there).T, scores, atol=1e-4, rtol=0)
    for moved in (whole[6:, :H, :W], whole[:T, 3:, :W], whole[:T, :H, 2:]):  # each of the three counts
        assert (rotate(q, here) @ rotate(k, moved.flatten(0, 2)).T - scores).abs().max() > 0.1
