"""Captions as people have them: what does not fit is named, and no text is made up."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from videofusion.data.layouts.detection import open_source
from videofusion.data.layouts.listing import list_frames, list_videos
from videofusion.data.layouts.metadata import MOST_WORDS
from videofusion.data.layouts.streaming import list_shards
from videofusion.data.layouts.tables import list_table


def fill(root: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_row_with_more_cells_than_the_header_is_named(tmp_path, ending):
    mark = "," if ending == "csv" else "\t"
    rows = ["file_name,text", "a.mp4,a dog, a cat", "b.mp4,a bird,", 'c.mp4,"one, two"', "d.mp4"]
    text = "\n".join(row if '"' in row else row.replace(",", mark) for row in rows)
    text = text.replace('c.mp4,"', f'c.mp4{mark}"')
    fill(tmp_path, **{f"{name}.mp4": "x" for name in "abcd"}, **{f"metadata.{ending}": text})
    source = list_videos(tmp_path) if ending == "csv" else list_table(tmp_path / "metadata.tsv")
    assert source.captions["b.mp4"] == "a bird"
    assert source.captions["c.mp4"] == "one, two"
    assert "a.mp4" not in source.captions
    (said,) = (reason for name, reason in source.problems.items() if name.endswith((" 2", "row 2")))
    assert said == "it has 3 cells, the header 2; a text with commas needs quotes"


def test_a_quote_that_is_not_closed_costs_its_row_only(tmp_path):
    rows = ["file_name,text", "a.mp4,fine", 'b.mp4,"open', 'c.mp4,"good, too"', "d.mp4,fine", 'e.mp4,"at the end']
    fill(tmp_path, **{f"{name}.mp4": "x" for name in "abcde"}, **{"metadata.csv": "\n".join(rows) + "\n"})
    source = list_videos(tmp_path)
    assert source.captions == {"a.mp4": "fine", "c.mp4": "good, too", "d.mp4": "fine"}
    assert {name for name in source.problems if "line" in name} == {"metadata.csv, line 3", "metadata.csv, line 6"}
    assert all("quote" in source.problems[name] for name in source.problems if "line" in name)


def test_quoted_texts_may_have_lines_and_long_cells_are_named(tmp_path):
    rows = 'file_name,text\na.mp4,"two\nlines, ""quoted"""\nb.mp4,' + "x" * 200_000 + "\nc.mp4,fine\n"
    fill(tmp_path, **{f"{name}.mp4": "x" for name in "abc"}, **{"metadata.csv": rows})
    source = list_videos(tmp_path)
    assert source.captions == {"a.mp4": 'two lines, "quoted"', "c.mp4": "fine"}
    assert "a cell of it has 200,000 letters" in source.problems["metadata.csv, line 4"]


def test_json_without_a_number_is_no_caption(tmp_path):
    rows = ['{"file_name": "a.mp4", "text": NaN}', '{"file_name": "b.mp4", "text": NaN, "caption": "b"}']
    rows += ['{"file_name": "c.mp4", "text": ["c", NaN, null, ""]}', '{"file_name": "d.mp4", "text": null, "label": 3}']
    fill(tmp_path, **{f"{name}.mp4": "x" for name in "abcd"}, **{"metadata.jsonl": "\n".join(rows)})
    source = list_videos(tmp_path)
    assert source.captions == {"b.mp4": "b", "c.mp4": "c", "d.mp4": "3"}
    assert source.problems["a.mp4"].startswith("no caption")
    (tmp_path / "metadata.jsonl").rename(tmp_path / "table.jsonl")
    assert list_table(tmp_path / "table.jsonl").captions == {"a.mp4": "", "b.mp4": "b", "c.mp4": "c", "d.mp4": "3"}
    fill(tmp_path, **{"table.json": json.dumps([{"path": "a.mp4", "text": float("nan")}])})
    assert list_table(tmp_path / "table.json").captions == {"a.mp4": ""}


def test_texts_beside_the_clips(tmp_path):
    fill(
        tmp_path,
        **{"a.mp4": "x", "a.txt": "\ufeffa dog\n runs ", "b.v1.mkv": "x", "b.v1.txt": "a cat", "c.mp4": "x"},
        **{"d.mp4": "x", "d.caption": "a bird", "e.mp4": "x", "e.txt": b"\xff\xfe\x00", "notes.txt": "mine"},
    )
    source = open_source(tmp_path)
    assert source.captions == {"a.mp4": "a dog runs", "b.v1.mkv": "a cat", "c.mp4": "", "d.mp4": "a bird"}
    assert "e.txt cannot be read" in source.problems["e.mp4"]
    assert source.told == "text files beside 4 of 5"
    assert source.passed == {".txt": 1}


def test_texts_beside_folders_of_frames(tmp_path):
    fill(tmp_path, **{"one.5/0.png": "x", "one.5.txt": "a dog", "two/0.png": "x", "two.txt": "a cat"})
    assert list_frames(tmp_path).captions == {"one.5": "a dog", "two": "a cat"}


@pytest.mark.parametrize("labels", ["labels", "captions", "videos/labels"])
def test_a_folder_of_texts(tmp_path, labels):
    fill(tmp_path, **{"videos/1.mp4": "x", "videos/2.mp4": "x", f"{labels}/1.txt": "one", f"{labels}/2.txt": "two"})
    source = open_source(tmp_path)
    assert source.captions == {"videos/1.mp4": "one", "videos/2.mp4": "two"}
    assert all(item.label == "" for item in source.items)
    assert source.passed == {}


@pytest.mark.parametrize("name", ["prompt.txt", "prompts.txt"])
def test_two_lists_whose_lines_belong_together(tmp_path, name):
    fill(tmp_path, **{name: "a dog\na cat\n", "videos.txt": "videos/b.mp4\nvideos/a.mp4\n"})
    fill(tmp_path, **{"videos/a.mp4": "x", "videos/b.mp4": "x", "videos/c.mp4": "x"})
    source = open_source(tmp_path)
    assert source.captions == {"videos/a.mp4": "a cat", "videos/b.mp4": "a dog"}
    assert source.problems["videos/c.mp4"].startswith("no caption")


def test_lists_that_do_not_fit_are_named(tmp_path):
    fill(tmp_path, **{"a.mp4": "x", "videos.txt": "a.mp4\nb.mp4\n"})
    assert "there is none of prompt.txt" in open_source(tmp_path).problems["videos.txt"]
    fill(tmp_path, **{"prompt.txt": "one\n"})
    assert open_source(tmp_path).problems["videos.txt"] == "no captions were taken: it has 2 lines, prompt.txt 1"
    fill(tmp_path, **{"prompt.txt": "one\ntwo\n"})
    source = open_source(tmp_path)
    assert source.captions == {"a.mp4": "one"}
    assert source.problems["videos.txt, line 2"] == 'there is no video "b.mp4"'


def test_one_folder_of_files_is_no_class(tmp_path):
    fill(tmp_path, **{"videos/a.mp4": "x", "videos/b.mp4": "x"})
    source = open_source(tmp_path)
    assert (set(source.captions.values()), source.told) == ({""}, "none")
    fill(tmp_path, **{"others/c.mp4": "x"})
    assert set(open_source(tmp_path).captions.values()) == {"videos", "others"}


def test_dots_in_the_names_of_shards_members(tmp_path):
    members = {
        "a.b.mp4": b"x",
        "a.b.txt": b"first",
        "c.1.mp4": b"x",
        "c.1.json": b'{"text": "second"}',
        "c.2.mp4": b"x",
        "c.2.txt": b"third",
        "c.3.webm": b"x",
        "v1.0/d.mp4": b"x",
        "v1.0/d.txt": b"fourth",
        "e.2024.01.mp4": b"x",
        "e.txt": b"fifth",
    }
    with tarfile.open(tmp_path / "part.0.tar", "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    source = list_shards(tmp_path)
    assert not source.problems
    told = {name.rpartition("tar/")[2]: caption for name, caption in source.captions.items()}
    assert told == {
        "a.b.mp4": "first",
        "c.1.mp4": "second",
        "c.2.mp4": "third",
        "c.3.webm": "",
        "v1.0/d.mp4": "fourth",
        "e.2024.01.mp4": "fifth",
    }


@pytest.mark.parametrize("text", [" ".join(f"w{number}" for number in range(10**6)), "x" * 10**6])
def test_a_caption_of_a_million_words_is_refused_wherever_it_stands(tmp_path, text):
    row = json.dumps({"file_name": "a.mp4", "text": text})
    places = {
        "beside": {"a.txt": text},
        "jsonl": {"metadata.jsonl": row},
        "lists": {"prompt.txt": text, "videos.txt": "a.mp4"},
    }
    places["label"] = {"metadata.jsonl": json.dumps({"file_name": "a.mp4", "text": "a", "label": text})}
    for name, files in places.items():
        fill(tmp_path / name, **{"a.mp4": "x"}, **files)
        source = open_source(tmp_path / name)
        assert source.captions == {}
        assert f"at most {MOST_WORDS:,} words" in source.problems["a.mp4"]
    fill(tmp_path / "table", **{"a.mp4": "x", "table.jsonl": row})
    source = list_table(tmp_path / "table" / "table.jsonl")
    assert "at most" in source.problems["table.jsonl, row 1"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("a.mp4", b"x"), ("a.txt", text.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert "at most" in list_shards(tmp_path / "a.tar").problems["a.tar/a"]


def test_the_reported_captions(shared_data):
    """The right values of ../shared/data/reports/README.md."""
    place = shared_data / "reports" / "captions"
    source = open_source(place / "unquoted_commas")
    assert source.captions == {}
    assert "cells" in source.problems["metadata.csv, line 2"]
    assert open_source(place / "sidecar_txt").captions == {"a.mp4": "a dog", "b.mp4": "a cat"}
    lists = open_source(place / "prompts_videos_txt")
    assert lists.captions == {"videos/a.mp4": "a dog", "videos/b.mp4": "a cat"}
    source = open_source(place / "nan_text")
    assert "nan" not in source.captions.values()
    assert source.problems["a.mp4"].startswith("no caption")
