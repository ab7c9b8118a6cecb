"""Structure of clips: edges where there are some, maps that do not flicker, skeletons where points are."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from videofusion.conditioning.structure import Depth, Pose, Preparation, draw_skeletons, edges
from videofusion.errors import InputError


def square(frames: int = 3) -> Tensor:
    """A bright square that moves to the right."""
    clip = torch.full((1, frames, 3, 32, 32), -0.8)
    for frame in range(frames):
        clip[:, frame, :, 8:24, 4 + 4 * frame : 16 + 4 * frame] = 0.8
    return clip


def test_edges_are_around_things_and_move_with_them() -> None:
    pytest.importorskip("cv2")
    found = edges(square())
    assert found.shape == (1, 3, 1, 32, 32)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert found[0, 0, 0, 16].nonzero().flatten().tolist() == [3, 15] or int(found[0, 0, 0, 16].sum()) == 2
    assert torch.equal(found[0, 1, 0, :, 4:], found[0, 0, 0, :, :-4])
    assert not edges(torch.zeros(1, 2, 3, 16, 16)).any()
    assert torch.equal(edges(square()[:, :, :1]), found)


def test_bounds_of_edges_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="low is 200 and high is 100"):
        edges(square(), low=200, high=100)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"videofusion\[flow\]"):
        edges(square())


class Brightness(nn.Module):
    """A model for which what is bright is near; it looks at frames of half of the size."""

    class Said:
        def __init__(self, predicted_depth: Tensor) -> None:
            self.predicted_depth = predicted_depth

    def forward(self, pictures: Tensor) -> Said:
        return self.Said(nn.functional.avg_pool2d(pictures, 2).mean(dim=1))


def test_depth_has_the_range_of_the_clip_not_of_each_frame() -> None:
    clip = square(20)
    clip[:, 1] = -0.8  # a frame without the square
    found = Depth(Brightness(), Preparation(size=(32, 32)))(clip)
    assert found.shape == (1, 20, 1, 32, 32)
    assert (float(found.min()), float(found.max())) == (0, 1)
    assert found[:, 1].max() < 0.2
    still = Depth(Brightness(), Preparation(size=(24, 24)))(square(1).expand(-1, 4, -1, -1, -1))
    assert torch.equal(still, still[:, :1].expand_as(still))


def test_pictures_are_brought_to_the_models_size() -> None:
    frames = torch.rand(1, 3, 20, 60) * 2 - 1
    assert Preparation(size=(32, 32))(frames).shape[-2:] == (32, 32)
    assert Preparation(size=(40, 40), keep_aspect=True, multiple=8)(frames).shape[-2:] == (16, 40)
    same = Preparation(size=(20, 60), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25))(frames)
    torch.testing.assert_close(same[:, 2], ((frames[:, 2] + 1) / 2 - 0.3) / 0.25)


class Points(nn.Module):
    """A model that sees every point where a picture is brightest."""

    class Said:
        def __init__(self, heatmaps: Tensor) -> None:
            self.heatmaps = heatmaps

    def __init__(self, count: int = 17) -> None:
        super().__init__()
        self.count = count

    def forward(self, pictures: Tensor) -> Said:
        return self.Said(nn.functional.avg_pool2d(pictures, 4).mean(dim=1, keepdim=True).expand(-1, self.count, -1, -1))


def test_points_are_in_pixels_of_the_clip() -> None:
    clip = torch.full((1, 2, 3, 32, 64), -1.0)
    clip[:, 0, :, 8:12, 40:44] = 1
    clip[:, 1, :, 28:32, 0:4] = 1
    found = Pose(Points(), Preparation(size=(32, 64))).points(clip)
    assert found.shape == (1, 2, 17, 3)
    assert found[0, :, 0, :2].tolist() == [[41.5, 9.5], [1.5, 29.5]]
    with pytest.raises(InputError, match="sees 5 points"):
        Pose(Points(5), Preparation(size=(32, 64)))(clip)


def test_skeletons_join_the_points_that_are_sure() -> None:
    pytest.importorskip("cv2")
    points = torch.zeros(1, 2, 17, 3)
    points[:, 0, 5] = torch.tensor([4.0, 8.0, 0.9])
    points[:, 0, 7] = torch.tensor([28.0, 8.0, 0.9])
    drawn = draw_skeletons(points, 16, 32)
    assert drawn.shape == (1, 2, 3, 16, 32)
    assert drawn[0, 0, :, 8, 5:28].amax(dim=0).min() > 0.5
    assert not drawn[0, 0, :, 14].any()
    assert not drawn[0, 1].any()
