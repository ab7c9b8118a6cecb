"""What resizing must keep, and what the public protocols' resizing is."""

from __future__ import annotations

import pytest
import torch

from videofusion.evaluation.extractors.c3d import SIZE
from videofusion.evaluation.extractors.preprocess import resize_clips, resize_tensorflow
from videofusion.evaluation.extractors.video import C3DExtractor, I3DExtractor


class Seen(torch.nn.Module):
    """Gives back what it is shown, under every layer's name."""

    def forward(self, x):
        self.shape = tuple(x.shape)
        return dict.fromkeys(("pool", "logits", "fc6", "fc7"), x.flatten(1))


def clip(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("align_corners", [False, True])
def test_frames_stay_apart_and_in_order(align_corners):
    clips = clip(2, 3, 3, 6, 5)
    out = resize_clips(clips, 9, align_corners=align_corners)
    assert out.shape == (2, 3, 3, 9, 9)
    alone = resize_clips(clips[1:, 2:], 9, align_corners=align_corners)
    torch.testing.assert_close(out[1:, 2:], alone)


def test_i3d_sees_what_the_torchscript_makes_of_0_to_255():
    levels = torch.randint(0, 256, (1, 9, 3, 20, 30), generator=torch.Generator().manual_seed(0)).float()
    network = Seen()
    shown = I3DExtractor(network, name="a", checksum="b").features(levels / 127.5 - 1)
    assert network.shape == (1, 3, 9, 224, 224)
    # rescale, resize: bilinear over height and width, half-pixel centres, no antialiasing
    flat = torch.nn.functional.interpolate(2 * levels[0] / 255 - 1, (224, 224), mode="bilinear", antialias=False)
    torch.testing.assert_close(shown.reshape(3, 9, 224, 224), flat.transpose(0, 1), atol=1e-5, rtol=0)


def test_c3d_sees_blue_first_and_keeps_the_corners():
    clips = clip(1, 16, 3, 40, 50)
    network = Seen()
    shown = C3DExtractor(network, name="a", checksum="b").features(clips).reshape(3, 16, SIZE, SIZE)
    assert network.shape == (1, 3, 16, SIZE, SIZE)
    assert shown.min() >= 0
    assert shown.max() <= 256
    for theirs, ours in ((0, 2), (1, 1), (2, 0)):
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            wanted = 128 * clips[0, :, ours, corner[0], corner[1]] + 128
            torch.testing.assert_close(shown[theirs, :, corner[0], corner[1]], wanted, atol=1e-3, rtol=0)


def test_tensorflow_takes_the_upper_left():
    frames = clip(1, 2, 5, 4)
    out = resize_tensorflow(frames, 20)
    torch.testing.assert_close(resize_tensorflow(frames[..., :4, :], 4), frames[..., :4, :])
    torch.testing.assert_close(out[..., ::4, ::5], frames)  # whole pixels are kept
    ramp = torch.arange(7.0)[None, None, None].expand(1, 1, 7, 7)
    place = torch.arange(299) * 7 / 299
    torch.testing.assert_close(resize_tensorflow(ramp, 299)[0, 0, 0], place.clamp(max=6), atol=1e-5, rtol=0)
    torch.testing.assert_close(resize_tensorflow(ramp.mT, 299)[0, 0, :, 5], place.clamp(max=6), atol=1e-5, rtol=0)
