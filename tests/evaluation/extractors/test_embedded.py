"""The extractor of the network that ships: any size, and what each of its layers knows."""

import pytest
import torch
from torch import Generator
from torch.nn.functional import interpolate

from videofusion.errors import InputError
from videofusion.evaluation.extractors import load_extractor
from videofusion.evaluation.extractors.embedded_network import FEATURES, WEIGHTS, fitted, load_network
from videofusion.evaluation.record import checksum


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("embedded", device="cpu")


@pytest.fixture(scope="module")
def clips():
    return torch.rand(3, 9, 3, 64, 64, generator=Generator().manual_seed(0)) * 2 - 1


def test_rows_are_frames_and_clips(extractor, clips):
    found = extractor.read(clips)
    assert found["motion"].shape == (3, FEATURES)
    assert found["frames"].shape == (27, FEATURES)
    assert extractor.checksum == checksum(WEIGHTS)
    one = extractor.read(clips[1:2])
    torch.testing.assert_close(one["motion"], found["motion"][1:2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one["frames"], found["frames"][9:18], atol=1e-4, rtol=1e-4)


def test_any_size_is_taken_and_means_the_same(extractor):
    coarse = torch.rand(18, 3, 4, 4, generator=Generator().manual_seed(1)) * 2 - 1
    plain, large = (
        interpolate(coarse, size, mode="bilinear", align_corners=False).unflatten(0, (2, 9))
        for size in ((64, 64), (128, 192))
    )
    torch.testing.assert_close(fitted(large), plain.flatten(0, 1), atol=0.05, rtol=0)
    one, other = extractor.read(plain), extractor.read(large)
    for layer in ("motion", "frames"):
        assert (one[layer] - other[layer]).square().mean() < 0.1 * one[layer].square().mean()


def test_frames_are_features_of_their_own_and_motion_is_blind_to_what_stands_still(extractor, clips):
    backwards = extractor.read(clips.flip(1))["frames"].unflatten(0, (3, 9))
    assert torch.allclose(backwards.flip(1).flatten(0, 1), extractor.read(clips)["frames"], atol=1e-4)
    still = extractor.features(clips[:, :1].expand(-1, 9, -1, -1, -1), "motion")
    assert torch.allclose(still, still[:1].expand(3, -1), atol=1e-3)


def test_clips_that_are_too_short(extractor, clips):
    with pytest.raises(InputError, match="7 frames, but embedded takes at least 8"):
        extractor.read(clips[:, :7])


def test_weights_that_are_none(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(InputError, match="cannot be read"):
        load_network(tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds other weights than the embedded network's"):
        load_network(tmp_path / "other.safetensors")


def test_the_file_is_small():
    assert WEIGHTS.stat().st_size < 1_000_000
