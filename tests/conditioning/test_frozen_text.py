"""Text encoders of transformers: their own numbers, one text like many, from a folder and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from videofusion.errors import InputError
from videofusion.interop.text_encoders import load_text_encoder

transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")

PROMPTS = ["a red three", "", "a blue three moving left"]


def save_t5(folder: Path, clip: Path) -> Path:
    """A folder with a T5 encoder of random weights and CLIP's tokenizer."""
    shutil.copytree(clip / "tokenizer", folder / "tokenizer")
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


def test_embeddings_are_the_model_s_own(saved_text: Path) -> None:
    text = load_text_encoder(saved_text)
    found, mask = text.encode(PROMPTS)
    assert (found.shape, mask.shape, text.size, text.length) == ((3, 30, 16), (3, 30), 16, 30)
    assert mask.all()
    model = transformers.CLIPTextModel.from_pretrained(saved_text / "text_encoder")
    words = transformers.CLIPTokenizer.from_pretrained(saved_text / "tokenizer")
    numbers = words(PROMPTS, padding="max_length", max_length=30, truncation=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(found, model(input_ids=numbers).last_hidden_state)
    assert not found.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        for number, prompt in enumerate(PROMPTS):
            assert torch.equal(text.encode([prompt])[0][0], found[number])


def test_a_t5_says_where_texts_end(saved_text: Path, tmp_path: Path) -> None:
    text = load_text_encoder(save_t5(tmp_path, saved_text))
    found, mask = text.encode(["ab", "abcd"])
    assert (mask.sum(dim=1).tolist(), text.size) == ([4, 6], 16)
    assert found.isfinite().all()


def test_it_is_asked_as_the_word_encoder_is(saved_text: Path) -> None:
    text = load_text_encoder(saved_text)
    assert text.unknown("whatever") == []
    text.check("a red three")
    with pytest.raises(InputError, match="at least one word"):
        text.check(" ")
    with pytest.raises(InputError, match="has 42 tokens; this model takes at most 30"):
        text.check("abcde" * 8)
    assert not any(parameter.requires_grad for parameter in text.model.parameters())


def test_a_fingerprint_tells_weights_and_tokenizers_apart(saved_text: Path) -> None:
    text, again = load_text_encoder(saved_text), load_text_encoder(saved_text)
    text.encode(["which leaves its padding in the tokenizer"])
    assert text.fingerprint() == again.fingerprint()
    again.length = 20
    assert text.fingerprint() != again.fingerprint()
    again.length = text.length
    next(again.model.parameters()).data[0] += 1
    assert text.fingerprint() != again.fingerprint()


def test_what_is_no_text_encoder_is_refused(saved_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder with a config"):
        load_text_encoder(tmp_path / "none")
    shutil.copytree(saved_text, tmp_path / "mine")
    mine = tmp_path / "mine" / "text_encoder"
    (mine / "model.safetensors").rename(mine / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"only pytorch_model.bin, a pickle"):
        load_text_encoder(tmp_path / "mine")
    (mine / "config.json").write_text('{"architectures": ["GPT2Model"]}')
    with pytest.raises(InputError, match="is a GPT2Model; it must be one of CLIPTextModel, T5EncoderModel"):
        load_text_encoder(tmp_path / "mine")
