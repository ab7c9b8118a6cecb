"""What lies at a path: found by looking, and refused in a sentence where it could be two things."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from videofusion.data.folder import VideoFolder
from videofusion.data.items import part
from videofusion.data.layouts.detection import detect, open_source
from videofusion.errors import InputError


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def pictures(folder, count, size=(16, 12), name="{}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (10 * number, 0, 255 - 10 * number)).save(folder / name.format(number))


def numbers_in(clip):
    return ((clip[:, 0].mean((1, 2)) + 1) * 127.5 / 10).round().int().tolist()


def splits(source):
    return {item.name: item.split for item in source.items}


def test_ucf101s_split_files(tmp_path):
    names = [f"UCF-101/{kind}/v_{kind}_g{g:02d}_c01.avi" for kind in ("ApplyEyeMakeup", "Archery") for g in (1, 2, 3)]
    fill(tmp_path, *names)
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    for fold in (1, 2, 3):
        rest = [name.partition("/")[2] for name in names]
        test = [name for name in rest if f"_g{fold:02d}" in name]
        (lists / f"testlist{fold:02d}.txt").write_text("\n".join(test) + "\n")
        train = [name for name in rest if name not in test]
        (lists / f"trainlist{fold:02d}.txt").write_text("".join(f"{name} 1\n" for name in train))
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    for fold in (1, 2, 3):
        source = open_source(tmp_path, fold=fold)
        assert splits(source) == {name: "test" if f"_g{fold:02d}" in name else "train" for name in names}
        assert source.items[0].label == "ApplyEyeMakeup"
        assert source.items[0].captions == ("Apply Eye Makeup",)
        assert not source.problems
    with pytest.raises(InputError, match="fold is 4; it must be one of 1, 2, 3"):
        open_source(tmp_path, fold=4)
    parts = {split: [item.name for item in part(source.items, split, 0.3)] for split in ("train", "val", "test")}
    assert sorted(name for each in parts.values() for name in each) == names
    assert all("_g03" in name for name in parts["test"])


def test_hmdb51s_split_files(tmp_path):
    fill(tmp_path, "brush_hair/a.avi", "brush_hair/b.avi", "brush_hair/c.avi", "brush_hair/d.avi")
    (tmp_path / "brush_hair_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \nc.avi 0 \ngone.avi 1 \n")
    source = open_source(tmp_path)
    assert splits(source) == {"brush_hair/a.avi": "train", "brush_hair/b.avi": "test", "brush_hair/c.avi": "unused"}
    assert set(source.problems) == {"brush_hair/d.avi", "brush_hair_test_split1.txt"}
    assert "brush_hair/gone" in source.problems["brush_hair_test_split1.txt"]
    (tmp_path / "brush_hair_test_split1.txt").write_text("a.avi 3\n")
    with pytest.raises(InputError, match="0, 1 or 2"):
        open_source(tmp_path)


def test_folders_called_train_and_test_are_splits_and_no_classes(tmp_path):
    fill(tmp_path, "train/run/a.mp4", "train/b.mp4", "test/run/c.mp4")
    source = open_source(tmp_path)
    assert splits(source) == {"train/run/a.mp4": "train", "train/b.mp4": "train", "test/run/c.mp4": "test"}
    assert source.captions == {"train/run/a.mp4": "run", "train/b.mp4": "", "test/run/c.mp4": "run"}
    fill(tmp_path, "car/d.mp4")  # now "train" is a thing beside a car
    assert set(splits(open_source(tmp_path)).values()) == {""}


def test_folders_of_frames_as_sky_timelapse_has_them(tmp_path):
    pictures(tmp_path / "sky_train" / "video" / "video_1", 12, name="video_frames_{}.jpg")
    pictures(tmp_path / "sky_test" / "other" / "other_1", 3)
    source = open_source(tmp_path, "frames")
    assert splits(source) == {"sky_train/video/video_1": "train", "sky_test/other/other_1": "test"}
    data = VideoFolder(tmp_path, layout="frames", frames=12, size=8, split="train", holdout=0.5)
    sample = data.sample(0)
    assert numbers_in(sample.clip) == list(range(12))  # frame 10 after frame 9
    assert (sample.caption, sample.fps) == ("", 0.0)


def test_a_table_gives_frames_a_rate(tmp_path):
    pictures(tmp_path / "a", 12)
    with_rate = {"file_name": "a", "text": "blue to red", "fps": 24}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(with_rate))
    sample = VideoFolder(tmp_path, layout="frames", frames=4, size=8, fps=8).sample(0)
    assert np.diff(numbers_in(sample.clip)).tolist() == [3, 3, 3]
    assert (sample.caption, sample.fps) == ("blue to red", 8.0)
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(Exception, match="nothing says its frame rate"):
        VideoFolder(tmp_path, layout="frames", frames=4, size=8, fps=8).sample(0)


def test_frames_of_two_sizes_and_damaged_ones_are_named(tmp_path):
    pictures(tmp_path / "a", 3)
    Image.new("RGB", (9, 9)).save(tmp_path / "a" / "1.png")
    with pytest.raises(Exception, match=r"1\.png is 9x9 pixels large"):
        VideoFolder(tmp_path, layout="frames", frames=3, size=8).sample(0)
    (tmp_path / "a" / "1.png").write_bytes((tmp_path / "a" / "2.png").read_bytes()[:45])
    with pytest.raises(Exception, match=r"damaged: 1\.png"):
        VideoFolder(tmp_path, layout="frames", frames=3, size=8).sample(0)


def test_images_are_clips_of_one_frame(tmp_path):
    pictures(tmp_path / "red_cars", 3)
    data = VideoFolder(tmp_path, layout="images", frames=1, size=8, fps=8)
    assert len(data) == 3
    assert data.sample(1).clip.shape == (1, 3, 8, 8)
    assert (data.sample(1).caption, data.sample(1).fps) == ("red cars", 0.0)


def test_layouts_are_found_by_looking(tmp_path):
    fill(tmp_path / "classes", "run/a.mp4")
    fill(tmp_path / "shards", "0.tar", "1.tar")
    fill(tmp_path / "array", "a.npy")
    fill(tmp_path / "hub", "metadata.jsonl", "a.mp4", "more.csv")
    fill(tmp_path / "table", "videos/a.mp4")
    (tmp_path / "table" / "webvid.csv").write_text("videoid,name\na,a dog\n")
    (tmp_path / "table" / "notes.json").write_text("{}")
    expected = {"classes": "folder", "shards": "shards", "array": "array", "hub": "folder", "table": "table"}
    assert {name: detect(tmp_path / name)[0] for name in expected} == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.mp4", "b.tar"], "holds shards and videos; choose one \\(layout\\): folder"),
        (["a/1.png", "b.mp4"], "holds videos and pictures; choose one \\(layout\\): folder"),
        (["a/1.png", "a/2.png"], r"choose \(layout\) \"frames\".* or \"images\""),
        (["a.doc"], "contains no video"),
    ],
)
def test_what_could_be_two_things_is_refused(tmp_path, names, said):
    fill(tmp_path, *names)
    with pytest.raises(InputError, match=said):
        open_source(tmp_path)


def test_two_tables_and_other_files_are_refused(tmp_path):
    fill(tmp_path, "a.mp4", "a.doc")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("path,text\na.mp4,a\n")
    with pytest.raises(InputError, match=r"several tables \(one.csv, two.csv\)"):
        open_source(tmp_path)
    assert open_source(tmp_path / "two.csv").captions == {"a.mp4": "a"}
    with pytest.raises(InputError, match="a file of another kind"):
        open_source(tmp_path / "a.doc")
    with pytest.raises(InputError, match='layout is "tree"; it must be one of auto, folder'):
        open_source(tmp_path, "tree")


def test_one_video_is_a_clip_of_its_own_with_what_lies_beside_it(tmp_path):
    fill(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.mp4", "text": "a dog", "split": "test"}\n{"file_name": "gone.mp4", "text": "a cat"}\n'
    )
    (tmp_path / "b.txt").write_text("a bird\n")
    said = {"a": ("a dog", "metadata.jsonl"), "b": ("a bird", "b.txt"), "c": ("", "none")}
    for name, (caption, told) in said.items():
        source = open_source(tmp_path / f"{name}.mp4")
        assert source.captions == {f"{name}.mp4": caption}
        assert (source.told, source.problems) == (told, {})
        assert [item.name for item in part(source.items, "train", 0.1)] == [f"{name}.mp4"]
        assert not part(source.items, "val", 0.1)
    with pytest.raises(InputError, match=r'd.mp4" is not there; it must be a folder or a file'):
        open_source(tmp_path / "d.mp4")
