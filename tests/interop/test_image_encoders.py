"""CLIP's image encoder from a folder: its own numbers, its own way to prepare pictures, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder

transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")


@pytest.mark.parametrize("size", [(16, 16), (40, 25), (9, 12)])
def test_embeddings_are_those_of_its_own_image_processor(saved_prior: Path, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    told = json.loads((saved_prior / "image_processor" / "preprocessor_config.json").read_text())
    processor = transformers.CLIPImageProcessorPil(**told)
    pixels = processor([each.permute(1, 2, 0).numpy() for each in picture], return_tensors="pt")["pixel_values"]
    theirs = transformers.CLIPVisionModelWithProjection.from_pretrained(saved_prior / "image_encoder").eval()
    ours = load_image_encoder(saved_prior)
    with torch.no_grad():
        wanted = theirs(pixel_values=pixels).image_embeds
    found = ours(picture / 127.5 - 1)
    assert (found.shape, ours.size) == ((2, 16), 16)
    # theirs rounds what it resized to bytes
    torch.testing.assert_close(found, wanted, atol=1e-5 if size == (16, 16) else 0.02 * float(wanted.std()), rtol=1e-4)


def test_it_is_never_trained_and_computes_in_its_own_precision(saved_prior: Path) -> None:
    encoder = load_image_encoder(saved_prior)
    frame = torch.rand(2, 3, 16, 16, requires_grad=True)
    found = encoder(frame)
    assert not found.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder(frame), found)


def test_the_tower_of_a_whole_clip_will_do(clip_folder: Path) -> None:
    whole = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    pixels = torch.rand(2, 3, 32, 32)
    encoder = load_image_encoder(clip_folder)
    mean, std = (torch.tensor(each)[:, None, None] for each in (encoder._mean, encoder._std))
    with torch.no_grad():
        pooled = whole.vision_model(pixel_values=(pixels - mean) / std).pooler_output
        wanted = whole.visual_projection(pooled)
    torch.testing.assert_close(encoder(2 * pixels - 1), wanted, atol=1e-5, rtol=1e-5)
    assert encoder.size == 12


def test_what_is_no_image_encoder_is_refused(saved_prior: Path, saved_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'image_encoder is ".*none"; it must be a folder'):
        load_image_encoder(tmp_path / "none")
    with pytest.raises(
        InputError, match="is a CLIPTextModel; it must be one of CLIPVisionModelWithProjection, CLIPModel"
    ):
        load_image_encoder(saved_text / "text_encoder")
    mine = tmp_path / "mine"
    shutil.copytree(saved_prior / "image_encoder", mine)
    (mine / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 20}}')
    with pytest.raises(InputError, match=r"has size .*20.*; with this image_encoder it must be .*16"):
        load_image_encoder(mine)
    (mine / "preprocessor_config.json").write_text('{"do_center_crop": false}')
    with pytest.raises(InputError, match="has do_center_crop False; with this image_encoder it must be True"):
        load_image_encoder(mine)
    (mine / "model.safetensors").rename(mine / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model.bin, a pickle"):
        load_image_encoder(mine)


def test_the_extra_that_is_missing_is_named(saved_prior: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import videofusion.interop.transformers_models as home

    def missing(module: str, extra: str) -> None:
        raise InputError(f'this needs the package "{module}"; `pip install "videofusion[{extra}]"` brings it')

    monkeypatch.setattr(home, "require", missing)
    with pytest.raises(InputError, match=r"videofusion\[clip\]"):
        load_image_encoder(saved_prior)
