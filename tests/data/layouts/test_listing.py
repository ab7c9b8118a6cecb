"""What a folder says about its videos."""

from __future__ import annotations

import pytest

from videofusion.data.layouts.listing import list_videos
from videofusion.errors import InputError


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_class_folders_give_their_names(tmp_path):
    fill(
        tmp_path,
        "waving_one_hand/b.MP4",
        "waving_one_hand/a.avi",
        "bend/1.gif",
        "top.webm",
        "bend/notes.txt",
        ".cache/c.mp4",
    )
    assert list_videos(tmp_path).captions == {
        "bend/1.gif": "bend",
        "top.webm": "",
        "waving_one_hand/a.avi": "waving one hand",
        "waving_one_hand/b.MP4": "waving one hand",
    }


@pytest.mark.parametrize("column", ["text", "caption", "label"])
def test_captions_from_jsonl(tmp_path, column):
    fill(tmp_path, "a.mp4", "sub/b.mkv")
    (tmp_path / "metadata.jsonl").write_text(
        f'{{"file_name": "a.mp4", "{column}": "ein  Ä\\n"}}\n\n{{"file_name": "sub/b.mkv", "{column}": 7}}\n'
    )
    listing = list_videos(tmp_path)
    assert listing.captions == {"a.mp4": "ein Ä", "sub/b.mkv": "7"}
    assert not listing.problems


def test_captions_from_csv_below_the_root(tmp_path):
    fill(tmp_path, "train/a.mp4", "test/a.mp4")
    (tmp_path / "train" / "metadata.csv").write_text('\ufefffile_name,text\na.mp4,"one, two"\n', encoding="utf-8")
    (tmp_path / "test" / "metadata.csv").write_text("file_name,text\na.mp4,three\n")
    assert list_videos(tmp_path).captions == {"test/a.mp4": "three", "train/a.mp4": "one, two"}


def test_what_does_not_fit_together_is_listed_and_not_used(tmp_path):
    fill(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.mp4", "text": "a"}\n'
        "{broken\n"
        '{"file_name": "gone.mp4", "text": "gone"}\n'
        '{"text": "nobody"}\n'
        '{"file_name": "c.mp4", "colour": "red"}\n'
        '{"file_name": "a.mp4", "text": "again"}\n'
        "[1, 2]\n"
    )
    listing = list_videos(tmp_path)
    assert listing.captions == {"a.mp4": "a"}
    assert {name: reason.split()[0] for name, reason in listing.problems.items()} == {
        "metadata.jsonl, line 2": "it",
        "gone.mp4": "there",
        "metadata.jsonl, line 4": "it",
        "c.mp4": "no",
        "metadata.jsonl, line 6": "a",
        "metadata.jsonl, line 7": "it",
        "b.mp4": "no",
    }


def test_no_folder_and_no_video_are_sentences(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        list_videos(tmp_path / "none")
    fill(tmp_path, "a.txt")
    with pytest.raises(InputError, match=r"contains no video.*\.mp4"):
        list_videos(tmp_path)
