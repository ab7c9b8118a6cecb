"""Attention that points: windows where they should be, shapes carried over, nothing when fresh."""

import pytest
import torch
from torch import Tensor, nn

from videofusion.networks.layers import LayerInputs
from videofusion.networks.temporal.pointing import PointedAttention, windows

B, T, C, H, W, TOLD = 2, 5, 16, 6, 8, 12
HEADS = 2
MIDDLE = T // 2


def layer(*, fresh: bool = False) -> PointedAttention:
    torch.manual_seed(1)
    made = PointedAttention(C, HEADS, 4, TOLD)
    if not fresh:
        for part in (made.to_out, made.point_place, made.point_frame):
            nn.init.normal_(part.weight, std=0.5)
    return made


def clip() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(B * T, C, H, W), torch.randn(B * T, TOLD)


def run(made: PointedAttention, x: Tensor, told: Tensor, b: int = B) -> Tensor:
    return made(x, LayerInputs(told, None, None, (b, T), torch.arange(T), 1.0))


def test_fresh_it_adds_nothing() -> None:
    x, told = clip()
    assert not run(layer(fresh=True), x, told).any()


def test_windows_are_gaussians_around_the_places_pointed_at() -> None:
    points = torch.randn(1, 1, H * W, HEADS, 3)
    q, k = windows(points, H, W)
    weights = torch.einsum("btngd,btkgd->bgtnk", q, k[:, None].expand(-1, 1, -1, HEADS, -1)).softmax(dim=-1)[0, :, 0]
    places = torch.stack(torch.meshgrid(torch.arange(H) * 4 / H, torch.arange(W) * 4 / W, indexing="ij"), -1).flatten(
        0, 1
    )
    for head in range(HEADS):
        aims = places + points[0, 0, :, head, :2]
        distance = torch.cdist(aims, places).square()
        expected = (-0.5 * distance * points[0, 0, :, head, 2:].exp()).softmax(dim=-1)
        torch.testing.assert_close(weights[head], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 4)])
def test_narrow_windows_carry_the_middle_frame_over(down: int, right: int) -> None:
    """Told to look `down` and `right` of itself, every place gets what the middle frame has there."""
    made = layer(fresh=True)
    made.norm = nn.Identity()
    with torch.no_grad():
        made.to_kv.weight.zero_()
        made.to_kv.weight[C:] = torch.eye(C)
        made.to_out.weight.copy_(torch.eye(C))
        made.point_place.bias.copy_(torch.tensor([down * 4 / H, right * 4 / W, 6.0]).repeat(HEADS))
    x, told = clip()
    brought = run(made, x, told).unflatten(0, (B, T))
    middle = x.unflatten(0, (B, T))[:, MIDDLE]
    rows = slice(max(0, -down), H - max(0, down))
    columns = slice(max(0, -right), W - max(0, right))
    expected = middle.roll((-down, -right), dims=(2, 3))[:, None].expand_as(brought)
    torch.testing.assert_close(brought[..., rows, columns], expected[..., rows, columns], rtol=1e-3, atol=1e-3)


def test_frames_see_themselves_and_the_middle_frame_only() -> None:
    x, told = clip()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(run(layer(), x, told)[0].sum(), x)
    seen = [f for f in range(B * T) if bool((gradient[f] != 0).any())]
    assert seen == [0, MIDDLE]


def test_what_a_frame_is_told_moves_its_window() -> None:
    x, told = clip()
    made = layer()
    other = told.clone()
    other[0] += 1
    changed = (run(made, x, other) != run(made, x, told)).flatten(1).any(dim=1)
    assert changed.tolist() == [True] + [False] * (B * T - 1)


def test_half_precision_keeps_places_apart() -> None:
    """Scores of places are large; rounded to bfloat16 they would not tell neighbours apart."""
    made, (x, told) = layer(), clip()
    whole = run(made, x, told)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = run(made, x, told)
    torch.testing.assert_close(x + half.float(), x + whole, rtol=0.1, atol=0.1)
    assert made.point_place.weight.dtype == torch.float32
