"""What holds for every extractor, shown on a small one."""

from __future__ import annotations

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.extractors import Extractor, NetworkExtractor


class Small(NetworkExtractor):
    layers = ("pool", "logits")
    min_frames = 2

    def _forward(self, clips):
        pool = self.network(clips.mean((1, 3, 4)))
        return {"pool": pool, "logits": 2 * pool}


class Frames(Small):
    per_frame = True
    max_frames = 4


@pytest.fixture
def network():
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Dropout(0.5))


CLIPS = torch.rand(5, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_frozen_and_the_batch_changes_nothing(network):
    extractor: Extractor = Small(network, name="small", checksum="c", batch=2)
    out = extractor.features(CLIPS)
    assert out.shape == (5, 5)
    assert not out.requires_grad
    assert not any(p.requires_grad for p in network.parameters())
    torch.testing.assert_close(out, Small(network, name="small", checksum="c", batch=9).features(CLIPS))
    torch.testing.assert_close(out, extractor.features(CLIPS))  # no dropout
    torch.testing.assert_close(extractor.logits(CLIPS), 2 * out)
    assert list(extractor.read(CLIPS)) == ["pool", "logits"]


def test_rows_of_frames_follow_clip_after_clip(network):
    extractor = Frames(network, name="frames", checksum="c", batch=4)
    rows = extractor.features(CLIPS)
    assert rows.shape == (15, 5)
    torch.testing.assert_close(rows[3:6], extractor.features(CLIPS[1:2]))


def test_autocast_and_half_precision_change_no_precision(network):
    extractor = Small(network, name="small", checksum="c")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extractor.features(CLIPS), extractor.features(CLIPS))
        assert extractor.features(CLIPS).dtype == torch.float32
    assert extractor.features(CLIPS.double()).dtype == torch.float32


@pytest.mark.parametrize(
    ("clips", "sentence"),
    [
        (CLIPS[0], r"shape \(3, 3, 4, 4\)"),
        (CLIPS[:0], "at least one clip"),
        (CLIPS.mT.reshape(5, 4, 1, 6, 6), r"shape \(5, 4, 1, 6, 6\)"),
        ((CLIPS * 100).to(torch.uint8), "uint8"),
        (CLIPS[:, :1], "1 frames, but frames takes at least 2"),
        (CLIPS.repeat(1, 2, 1, 1, 1), "6 frames"),
        (CLIPS * 255, r"takes \[-1, 1\]"),
        (CLIPS.masked_fill(CLIPS > 0.9, torch.nan), "nan"),
        (CLIPS.masked_fill(CLIPS > 0.9, torch.inf), "inf"),
    ],
)
def test_clips_that_are_refused(network, clips, sentence):
    with pytest.raises(InputError, match=sentence):
        Frames(network, name="frames", checksum="c").features(clips)


def test_an_unknown_layer_is_named(network):
    with pytest.raises(InputError, match='"fc9", but small has pool, logits'):
        Small(network, name="small", checksum="c").features(CLIPS, "fc9")
