"""Three captioners: what each is shown; and small random models of transformers behind the same interface."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from videofusion.curation import captions as module
from videofusion.curation.captions import Captions
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job
from videofusion.errors import InputError


class Fake:
    """Says the grey of every frame that it is shown, or joins texts."""

    def caption(self, frames, texts) -> str:
        return "+".join(texts) or " ".join(str(round(float(frame.mean()) / 10)) for frame in frames)


def test_the_middle_frame_several_frames_and_both(tmp_path, write_video, monkeypatch):
    monkeypatch.setattr(module, "_opened", lambda *_: (Fake(), Fake(), Fake()))
    frames = [np.full((16, 16, 3), 10 * number, np.uint8) for number in range(1, 12)]
    path = write_video(tmp_path / "a.mp4", frames)
    stage = Captions(middle="", video="", llm="", digests=("", "", ""), frames=3)
    row = stage.look(Job(Span(source="a", path=str(path), stamp="", first=2, count=9), {}))
    assert row == {"caption_middle": "7", "caption_video": "3 7 11", "caption": "7+3 7 11"}


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "runs", "##s"]


def tokenizer(transformers, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return transformers.BertTokenizer(str(folder / "vocab.txt"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A BLIP, a GIT for videos of four frames, and a GPT-2."""
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"vocab_size": len(WORDS), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = tower | {"image_size": 16, "patch_size": 8}
    images = {"size": {"height": 16, "width": 16}, "crop_size": {"height": 16, "width": 16}}
    blip = transformers.BlipConfig(
        text_config={**tower, **ids, "sep_token_id": 3, "encoder_hidden_size": 16, "max_position_embeddings": 32},
        vision_config=vision,
    )
    transformers.BlipForConditionalGeneration(blip).save_pretrained(root / "blip")
    words = tokenizer(transformers, root / "words")
    kind = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil
    transformers.BlipProcessor(kind(size=images["size"]), words).save_pretrained(root / "blip")
    git = transformers.GitConfig(
        vision_config=vision, **tower, **ids, num_image_with_embedding=4, max_position_embeddings=32
    )
    transformers.GitForCausalLM(git).save_pretrained(root / "git")
    kind = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil
    transformers.GitProcessor(kind(**images), words).save_pretrained(root / "git")
    gpt = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=128, **ids)
    transformers.GPT2LMHeadModel(gpt).save_pretrained(root / "gpt")
    words.save_pretrained(root / "gpt")
    return root


def test_models_of_transformers(models, tmp_path, make_scene, write_video, monkeypatch):
    path = write_video(tmp_path / "a.mp4", make_scene(0, 6, moves=2))
    job = Job(Span(source="a", path=str(path), stamp="", first=0, count=6), {})
    stage = Captions.of(*(str(models / name) for name in ("blip", "git", "gpt")))
    seer, watcher, writer = stage._captioners()
    shown = {}
    for captioner in (seer, watcher, writer):
        kind, generate = type(captioner.model).__name__, captioner.model.generate

        def noted(kind=kind, generate=generate, **inputs):
            shown[kind] = inputs
            return generate(**inputs)

        monkeypatch.setattr(captioner.model, "generate", noted)
    row = stage.look(job)
    assert sorted(row) == ["caption", "caption_middle", "caption_video"]
    assert shown["BlipForConditionalGeneration"]["pixel_values"].shape == (1, 3, 16, 16)
    four = shown["GitForCausalLM"]["pixel_values"]
    assert four.shape == (1, 4, 3, 16, 16)  # as many as it is trained on, of the six
    assert all((one - other).abs().max() > 0 for one, other in itertools.pairwise(four[0]))
    asked = writer.tokenizer.decode(shown["GPT2LMHeadModel"]["input_ids"][0])
    assert row["caption_middle"] in asked
    assert row["caption_video"] in asked
    assert stage.look(job) == row
    short = stage.look(Job(Span(source="a", path=str(path), stamp="", first=0, count=1), {}))
    assert shown["GitForCausalLM"]["pixel_values"].shape == (1, 4, 3, 16, 16)
    assert isinstance(short["caption_video"], str)


def test_a_folder_of_another_model_is_one_sentence(models, tmp_path, make_scene, write_video):
    job = Job(Span(source="a", path=str(write_video(tmp_path / "a.mp4", make_scene(0, 2))), stamp=""), {})
    with pytest.raises(InputError, match="--caption-middle"):
        Captions.of(*(str(models / name) for name in ("gpt", "git", "gpt"))).look(job)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"--caption-llm .* has no safetensors"):
        Captions.of(str(models / "blip"), str(models / "git"), str(tmp_path / "empty"))
    config = json.loads((models / "gpt" / "config.json").read_text())
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (models / "gpt").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "config.json").write_text(json.dumps(config | {"n_layer": 2}))
    with pytest.raises(InputError, match=r"--caption-llm .* lack"):
        Captions.of(str(models / "blip"), str(models / "git"), str(broken)).look(job)
