"""Tables in the styles of the large sets."""

from __future__ import annotations

import json

import pytest

from videofusion.data.folder import VideoFolder
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_webvid(tmp_path):
    fill(tmp_path, "videos/000001_000050/21179416.mp4", "videos/000001_000050/5629184.mp4")
    (tmp_path / "results_2M_train.csv").write_text(
        "videoid,contentUrl,duration,page_dir,name\n"
        '21179416,https://x/y.mp4,PT00H00M11S,000001_000050,"Aerial shot, winter forest"\n'
        "5629184,https://x/z.mp4,PT00H00M29S,000001_000050,Senior couple\n"
        "1,https://x/1.mp4,PT00H00M29S,000001_000050,Gone\n"
    )
    source = open_source(tmp_path)
    assert source.captions == {
        "videos/000001_000050/21179416.mp4": "Aerial shot, winter forest",
        "videos/000001_000050/5629184.mp4": "Senior couple",
    }
    assert list(source.problems) == ["results_2M_train.csv, row 4"]
    assert "no video file 1 below" in source.problems["results_2M_train.csv, row 4"]


def test_msr_vtt(tmp_path):
    fill(tmp_path, "TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4")
    videos = [
        {"video_id": f"video{n}", "split": split, "category": 9, "start time": 137.72, "end time": 149.44}
        for n, split in enumerate(["train", "validate"])
    ]
    sentences = [{"video_id": "video0", "caption": text} for text in ("a car", "a red car", "a car")]
    (tmp_path / "videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    first, second = open_source(tmp_path).items
    assert (first.captions, first.split, first.label, first.span) == (("a car", "a red car"), "train", "", None)
    assert (second.captions, second.split) == ((), "val")


def test_hd_vila(video, tmp_path):
    video(tmp_path / "download" / "abc.mp4", 20)  # of 2 seconds
    fill(tmp_path, "cut/xyz.0.mp4")
    rows = [
        {
            "video_id": "abc",
            "clip": [
                {"clip_id": "abc.0.mp4", "span": ["00:00:00.500", "00:00:01.000"]},
                {"clip_id": "abc.1.mp4", "span": ["00:00:01.000", "00:00:01.800"]},
            ],
        },
        {"video_id": "xyz", "clip": [{"clip_id": "xyz.0.mp4", "span": ["00:00:17.759", "00:00:23.279"]}]},
    ]
    table = tmp_path / "hdvila.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second, cut = open_source(table).items
    assert (first.name, first.span) == ("download/abc.mp4 (0.5-1 s)", (0.5, 1.0))
    assert (len(first.open()), len(second.open())) == (5, 8)
    assert (cut.name, cut.span) == ("cut/xyz.0.mp4", None)  # a file that was cut already
    sample = VideoFolder(table, frames=8, size=16).sample(1)
    grey = (sample.clip[:, :, :, :4].mean((1, 2, 3)) + 1) * 127.5
    assert ((grey - 5) / 10).round().int().tolist() == list(range(10, 18))


def test_kinetics(tmp_path):
    fill(tmp_path, "train/abseiling/_4YTwq0-73Y_000044_000054.mp4", "val/zumba/AbC.mp4")
    (tmp_path / "kinetics600.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nabseiling,_4YTwq0-73Y,44,54,train\nzumba,AbC,3,13,val\n"
    )
    first, second = open_source(tmp_path).items
    assert (first.label, first.captions, first.split, first.span) == ("abseiling", ("abseiling",), "train", None)
    assert (second.name, second.span, second.split) == ("val/zumba/AbC.mp4 (3-13 s)", (3.0, 13.0), "val")


def test_rows_with_one_path_add_captions_and_bad_rows_are_named(tmp_path):
    fill(tmp_path, "a.mp4", "x/b.mp4", "y/b.mp4")
    (tmp_path / "t.jsonl").write_text(
        '{"path": "a.mp4", "caption": "one"}\n'
        '{"path": "./a.mp4", "caption": ["two", "one"]}\n'
        '{"video_id": "b", "caption": "which"}\n'
        '{"path": "a.mp4", "start": 5, "end": 2}\n'
        '{"caption": "nobody"}\n'
        "{broken\n"
    )
    source = open_source(tmp_path)
    assert [(item.name, item.captions) for item in source.items] == [("a.mp4", ("one", "two"))]
    assert {line: reason.split(":")[0] for line, reason in source.problems.items()} == {
        "t.jsonl, row 3": "2 files are called b",
        "t.jsonl, row 4": "its span is [5, 2]; the first time must be before the second",
        "t.jsonl, row 5": "it names no clip",
        "t.jsonl, row 6": "it is no JSON",
    }


@pytest.mark.peer
def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    fill(tmp_path, "a.mp4")
    parquet.write_table(pyarrow.table({"path": ["a.mp4"], "caption": ["an a"]}), tmp_path / "t.parquet")
    assert open_source(tmp_path).captions == {"a.mp4": "an a"}


@pytest.mark.parametrize("content", [b"colour,size\nred,1\n", b"", b"\xff\xfe\x00path"])
def test_what_is_no_table_is_a_sentence(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match="not a table of clips"):
        open_source(tmp_path / "t.csv")


def test_a_folder_with_nothing_but_a_table_of_files_elsewhere(video, tmp_path):
    path = video(tmp_path / "videos" / "a.mp4", 20)  # of 2 seconds
    out = tmp_path / "curated"
    out.mkdir()
    rows = [
        {"file_name": str(path), "start": 0.5, "end": 1.0, "text": "said"},
        {"file_name": str(path), "text": "all"},
        {"file_name": str(tmp_path / "none.mp4")},
    ]
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(out)
    assert [(item.captions, item.span, len(item.open())) for item in source.items] == [
        (("said",), (0.5, 1.0), 5),
        (("all",), None, 20),
    ]
    assert list(source.problems) == ["metadata.jsonl, row 3"]
