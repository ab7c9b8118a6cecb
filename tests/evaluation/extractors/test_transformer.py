"""CLIP and VideoMAE: small random models of transformers, against transformers itself."""

from __future__ import annotations

import sys

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.extractors import load_extractor
from videofusion.evaluation.extractors.transformer import CLIPExtractor
from videofusion.evaluation.metrics.means import MEANS, Seen


@pytest.mark.parametrize("name", ["clip", "videomae"])
def test_a_missing_package_and_a_missing_file_are_sentences(name, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"model.safetensors, which does not exist"):
        load_extractor(name, tmp_path, device="cpu")
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"videofusion\[clip\]"):
        load_extractor(name, tmp_path, device="cpu")


@pytest.mark.peer
def test_clip(clip_folder):
    extractor = load_extractor("clip", clip_folder, device="cpu")
    assert isinstance(extractor, CLIPExtractor)
    clips = torch.rand(2, 3, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = extractor.features(clips)
    assert rows.shape == (6, 12)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(6))
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((clips[1, :, :, :, 8:40] + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    theirs = extractor.network.get_image_features(pixel_values=pixels)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output
    torch.testing.assert_close(rows[3:], theirs / theirs.norm(dim=-1, keepdim=True), atol=1e-5, rtol=0)
    texts = extractor.text(["ab", "a b a b a b a b a b"])
    assert texts.shape == (2, 12)
    torch.testing.assert_close(texts[:1], extractor.text(["ab"]), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="prompts are empty"):
        extractor.text([])
    with pytest.raises(InputError, match="VideoMAE"):
        load_extractor("videomae", clip_folder, device="cpu")


@pytest.mark.peer
def test_videomae(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        image_size=16, patch_size=8, num_frames=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.VideoMAEForVideoClassification(config).save_pretrained(tmp_path)
    extractor = load_extractor("videomae", tmp_path, device="cpu")
    clips = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((clips + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(extractor.logits(clips), extractor.network(pixel_values=pixels).logits)
    assert extractor.features(clips).shape == (2, 16)
    with pytest.raises(InputError, match="takes exactly 4"):
        extractor.features(clips[:, :3])


@pytest.mark.peer
def test_what_clips_show_is_compared_with_what_they_should(clip_folder):
    extractor = load_extractor("clip", clip_folder, device="cpu")
    clips = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = Seen(clips, ["0", "1"], {"clip": extractor}, captions=["ab", "b a"])
    found = MEANS["text-similarity"].of(seen, "clip", "embedding")
    frames, texts = extractor.features(clips).reshape(2, 3, 12), extractor.text(["ab", "b a"])
    torch.testing.assert_close(found.float(), (frames * texts[:, None]).sum(2), atol=1e-6, rtol=0)
