"""What a run keeps of its beginning, and says when the data are not as they were."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from small import smallest, state_of, write_waves

from videofusion.errors import InputError
from videofusion.training import beginning as module
from videofusion.training.beginning import FILE, beginning, changes, read_beginning, unknown_words
from videofusion.training.checkpoints import newest
from videofusion.training.trainer import train

CAPTIONS = {"0.webp": "a red wave", "1.webp": "a blue wave", "2.webp": "a green wave", "3.webp": "a grey wave"}


def tell(folder: Path, captions: dict[str, str]) -> None:
    """Write the table; what training learns words from are the clips but 3."""
    parts = {name: "val" if name == "3.webp" else "train" for name in captions}
    rows = [{"file_name": name, "text": text, "split": parts[name]} for name, text in captions.items()]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_waves(folder, frames=5)
    tell(folder, CAPTIONS)
    return folder


def go(videos: Path, run: Path, steps: int, **options: object) -> None:
    recipe = smallest(
        "folder64",
        system="vdm",
        **{"network.temporal": "factorised", "clips.frames": 3, "batch.workers": 0, "log.boards": ()},
        **options,
    )
    train(recipe, run, videos, steps=steps, device="cpu", bar=False)


def notes_of(run: Path) -> list[str]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["text"] for line in lines if line["event"] == "note"]


def words_of(run: Path) -> list[str]:
    return json.loads((run / "model" / "text_encoder" / "config.json").read_text())["words"]


def test_words_keep_their_places_when_captions_change(videos, tmp_path):
    """Sorted anew, as many words as before would each mean another."""
    run = tmp_path / "run"
    go(videos, run, 2, **{"optimizer.learning_rate": 0.0})
    tokens = newest(run / "checkpoints", pytest.fail).weights["text_encoder.tokens.weight"]
    assert words_of(run) == ["a", "blue", "green", "red", "wave"]
    tell(videos, {**CAPTIONS, "1.webp": "an amber wave"})  # for blue; "an" is new as well
    go(videos, run, 4, **{"optimizer.learning_rate": 0.0})
    assert words_of(run) == ["a", "blue", "green", "red", "wave"]
    assert torch.equal(newest(run / "checkpoints", pytest.fail).weights["text_encoder.tokens.weight"], tokens)
    changed, unknown = notes_of(run)[-4:-2]
    assert "another caption or label: 1.webp;" in changed
    assert "not to the bits that it would have come to" in changed
    assert "reads as unknown: amber, an;" in unknown


def test_lambda_stays_as_it_was_measured_when_clips_change(videos, tmp_path):
    run, system = tmp_path / "run", {"system": "videofusion", "network.temporal": "residual"}

    def profiles() -> list[list[float]]:
        return json.loads((run / "model" / "model_index.json").read_text())["profiles"]

    recipe = smallest(
        "folder64", **{"clips.frames": 3, "batch.workers": 0, "log.boards": (), "system.adaptive": 0.5}, **system
    )
    train(recipe, run, videos, steps=2, device="cpu", bar=False)
    before = profiles()
    (videos / "0.webp").write_bytes((videos / "1.webp").read_bytes())
    train(recipe, run, videos, steps=4, device="cpu", bar=False)
    assert profiles() == before
    anew = tmp_path / "anew"
    train(recipe, anew, videos, steps=2, device="cpu", bar=False)
    assert json.loads((anew / "model" / "model_index.json").read_text())["profiles"] != before


def test_unchanged_data_are_no_words_and_the_same_bits(videos, tmp_path):
    for run, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
        go(videos, tmp_path / run, steps)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not any("the data are not" in text for text in notes_of(tmp_path / "parts"))


def test_every_kind_of_change_is_named(videos, tmp_path):
    run = tmp_path / "run"
    go(videos, run, 2)
    (videos / "4.webp").write_bytes((videos / "0.webp").read_bytes())
    (videos / "3.webp").unlink()
    os.utime(videos / "2.webp", (0, 0))
    captions = {name: text for name, text in CAPTIONS.items() if name != "3.webp"}
    tell(videos, {**captions, "0.webp": "a blue wave", "4.webp": "a red wave"})
    go(videos, run, 3)
    note = next(text for text in notes_of(run) if "the data are not" in text)
    assert "added: 4.webp; missing: 3.webp; another file (size or time of change): 2.webp;" in note
    assert "another caption or label: 0.webp;" in note
    assert not any("unknown" in text for text in notes_of(run))


def test_a_run_without_a_checkpoint_begins_with_what_is_there_now(videos, tmp_path):
    run = tmp_path / "run"
    go(videos, run, 2)
    for path in (run / "checkpoints").iterdir():
        path.rename(path.with_name(f".{path.name}.new"))  # as a kill leaves the first one
    tell(videos, dict.fromkeys(CAPTIONS, "nothing but waves"))
    go(videos, run, 2)
    assert words_of(run) == ["but", "nothing", "waves"]


def test_a_run_of_an_older_version_has_the_words_of_its_model(videos, tmp_path):
    run = tmp_path / "run"
    go(videos, run, 2)
    (run / FILE).unlink()
    tell(videos, {**CAPTIONS, "0.webp": "an amber wave"})
    go(videos, run, 3)
    assert words_of(run) == ["a", "blue", "green", "red", "wave"]


def test_what_was_kept_and_cannot_be_read_is_a_sentence(videos, tmp_path):
    run = tmp_path / "run"
    go(videos, run, 2)
    for text in ("{", "[]", '{"wards": []}'):
        (run / FILE).write_text(text)
        with pytest.raises(InputError, match=rf"{FILE}, which says what the run began with, cannot be read"):
            go(videos, run, 3)


def test_of_many_clips_only_that_something_changed_is_known(videos, monkeypatch):
    monkeypatch.setattr(module, "MOST_NAMED", 3)
    from videofusion.data.folder import VideoFolder

    began = beginning(VideoFolder(videos, frames=3, size=8), [])
    assert (began.count, began.clips) == (4, {})
    assert changes(began, beginning(VideoFolder(videos, frames=3, size=8), [])) is None
    tell(videos, {**CAPTIONS, "0.webp": "x"})
    assert "4 clips then, 4 now" in changes(began, beginning(VideoFolder(videos, frames=3, size=8), []))


def test_made_up_data_have_no_list(tmp_path):
    train(smallest(**{"budget.steps": 2}), tmp_path, device="cpu", bar=False)
    assert read_beginning(tmp_path).count is None
    assert (
        read_beginning(tmp_path).words[:2]
        == json.loads((tmp_path / "model" / "text_encoder" / "config.json").read_text())["words"][:2]
    )


def test_unknown_words_are_few_in_a_sentence():
    assert unknown_words(["a b", "c"], ["c", "b", "a"]) is None
    assert "v, w, x and 2 more;" in unknown_words(["v w x y z"], ["a"])


@pytest.mark.parametrize("said", ["[]", "[1]", '{"nothing": 1}', "[" * 100_000, '{"words": ' + "9" * 5000 + "}"])
def test_a_damaged_beginning_is_named(tmp_path: Path, said: str) -> None:
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "data.json").write_text(said)
    with pytest.raises(InputError, match=r"data\.json, which says what the run began with, cannot be read"):
        read_beginning(tmp_path)
