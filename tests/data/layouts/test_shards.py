"""Tar shards: read where they lie, written from folders and back, and streamed."""

from __future__ import annotations

import io
import json
import pickle
import re
import sys
import tarfile
from dataclasses import replace

import pytest
import torch
from PIL import Image

from videofusion.cli import main
from videofusion.data.addresses import fetching
from videofusion.data.checking import check_folder
from videofusion.data.convert import convert
from videofusion.data.folder import VideoFolder
from videofusion.data.layouts.detection import open_source
from videofusion.data.loader import Loader
from videofusion.data.statistics import folder_report
from videofusion.errors import InputError, RunError


@pytest.fixture(scope="module")
def folder(video, tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    names = ["a.mp4", "sub/b.mkv", "c.gif", "d.avi", "e.with.dots.webm"]
    rows = [
        {"file_name": name, "text": f"Clip Ä, {name}", "identity": "x", "label": "run", "split": "train"}
        for name in names
    ]
    rows[1]["text"] = ["one", "two"]
    for number, name in enumerate(names):
        video(root / name, 8 + number)
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("converted") / "shards"
    assert convert(folder, target, shard_bytes=1) == (5, {})
    return target


def write_tar(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def facts(source):
    return [(i.name, i.captions, i.label, i.identity, i.action, i.split) for i in source.items]


def test_a_round_trip_keeps_bytes_and_captions(folder, shards, tmp_path):
    assert len(list(shards.glob("*.tar"))) == 5  # one a clip, as they were to be that small
    assert main(["data", "convert", str(shards), str(tmp_path / "back")]) == 0
    before, after = open_source(folder), open_source(tmp_path / "back")
    assert sorted(facts(before)) == sorted(facts(after)) == sorted(facts(open_source(shards)))
    assert after.items[-1].captions == ("one", "two")
    for item in before.items:
        assert (tmp_path / "back" / item.name).read_bytes() == (folder / item.name).read_bytes()
    convert(tmp_path / "back", tmp_path / "again", shard_bytes=10**9)
    convert(folder, tmp_path / "once", shard_bytes=10**9)
    assert (tmp_path / "again" / "000000.tar").read_bytes() == (tmp_path / "once" / "000000.tar").read_bytes()


def test_clips_from_shards_are_those_from_files(folder, shards):
    settings = {"frames": 6, "size": 16, "cache_bytes": 0}
    files, packed = VideoFolder(folder, **settings), VideoFolder(shards, **settings)
    assert len(pickle.dumps(packed)) < 6000
    for index, name in enumerate(packed.names):
        one, other = packed.sampler.draws(0, 0, 0), files.names.index(name)
        window = [int(n) for n in packed.sampler.window(packed.items[index].open(), one)[0]]
        read = [list(each.open().decode(window)) for each in (packed.items[index], files.items[other])]
        assert all((a == b).all() for a, b in zip(*read, strict=True))
    assert check_folder(shards) == []
    assert "5 videos" in folder_report(shards)


def test_folders_of_frames_and_pictures_survive_too(tmp_path):
    for number in range(12):
        place = tmp_path / "frames" / "clip"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{number}.png")
    convert(tmp_path / "frames", tmp_path / "shards", layout="frames")
    assert open_source(tmp_path / "shards").captions == {"clip": ""}
    convert(tmp_path / "shards", tmp_path / "back")
    written = sorted((tmp_path / "back" / "clip").iterdir())
    assert [file.read_bytes() for file in written] == [(place / f"{n}.png").read_bytes() for n in range(12)]
    clips = [
        VideoFolder(tmp_path / name, layout=layout, frames=12, size=8).sample(0).clip
        for name, layout in (("frames", "frames"), ("shards", "auto"), ("back", "frames"))
    ]
    assert torch.equal(clips[0], clips[1])
    assert torch.equal(clips[0], clips[2])
    convert(tmp_path / "frames", tmp_path / "images", layout="images")
    assert set(open_source(tmp_path / "images").captions.values()) == {"clip"}


def test_others_shards_with_txt_and_cls(folder, tmp_path):
    clip = (folder / "a.mp4").read_bytes()
    write_tar(
        tmp_path / "a.tar",
        **{
            "x/1.mp4": clip,
            "x/1.txt": b"a dog",
            "x/2.cls": b"cat",
            "x/2.mp4": clip,
            "x/3.txt": b"nothing",
            "x/4.mp4": clip,
            "x/4.json": b"{",
        },
    )
    source = open_source(tmp_path)
    assert [(item.name, item.caption, item.label) for item in source.items] == [
        ("a.tar/x/1.mp4", "a dog", ""),
        ("a.tar/x/2.mp4", "", "cat"),
    ]
    assert {name: reason.split(":")[0].split(",")[0] for name, reason in source.problems.items()} == {
        "a.tar/x/3": "there must be one video",
        "a.tar/x/4": "its text cannot be read",
    }


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_a_shard_that_breaks_off_keeps_its_whole_clips_and_is_named(folder, tmp_path, kept):
    convert(folder, tmp_path / "shards")
    data = (tmp_path / "shards" / "000000.tar").read_bytes().rstrip(b"\0")
    (tmp_path / "cut.tar").write_bytes(data[: int(kept * len(data))])
    source = open_source(tmp_path / "cut.tar")
    assert "truncated" in source.problems["cut.tar"]
    bad = [name for name, reason in check_folder(tmp_path / "cut.tar", frames=1) if "cut.tar" not in name]
    assert len(bad) <= 1  # the one in which it breaks off
    assert len(source.items) < 5 or bad
    (tmp_path / "text.tar").write_text("no tar at all")
    assert "no tar" in open_source(tmp_path / "text.tar").problems["text.tar"]


def test_bad_targets_and_names_are_refused(folder, shards, tmp_path):
    with pytest.raises(InputError, match="already exists"):
        convert(folder, shards)
    clip = (folder / "a.mp4").read_bytes()
    for name in ("../out.mp4", "a\\..\\out.mp4"):
        row = json.dumps({"file_name": name, "text": ""}).encode()
        write_tar(tmp_path / "evil.tar", **{"1.mp4": clip, "1.json": row})
        with pytest.raises(InputError, match=rf"called {re.escape(name)}, which is not a path"):
            convert(tmp_path / "evil.tar", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evil.tar"]


def test_webdataset_reads_what_we_write(folder, shards):
    tariterators = pytest.importorskip("webdataset.tariterators")
    samples = []
    for path in sorted(shards.glob("*.tar")):
        with path.open("rb") as file:
            members = tariterators.tar_file_expander([{"url": str(path), "stream": file}])
            samples += list(tariterators.group_by_keys(members))
    assert [json.loads(sample["json"])["file_name"] for sample in samples] == open_names(folder)
    assert samples[0]["mp4"] == (folder / "a.mp4").read_bytes()


def open_names(folder):
    return [item.name for item in open_source(folder).items]


SHOW = "import pathlib, sys; sys.stdout.buffer.write(pathlib.Path(sys.argv[1].split('store://')[1]).read_bytes())"


@pytest.fixture
def elsewhere(shards, tmp_path, monkeypatch):
    """An index whose shards are addresses, which a command fetches."""
    monkeypatch.setenv("VIDEOFUSION_SHARDS", str(tmp_path / "cache"))
    index = json.loads((shards / "index.json").read_text())
    for shard in index["shardlist"]:
        shard["url"] = f"store://{shards / shard['url']}"
    (tmp_path / "index.json").write_text(json.dumps(index))
    with fetching(f'{sys.executable} -c "{SHOW}" {{}}'):
        yield tmp_path / "index.json"


def test_streamed_shards_give_the_same_clips_shard_by_shard(shards, elsewhere):
    streamed = VideoFolder(elsewhere, frames=4, size=16)
    assert "Ä," in streamed.captions  # the index says the words
    assert not (elsewhere.parent / "cache").exists()  # so nothing is fetched before it is needed
    local = VideoFolder(shards, frames=4, size=16)
    assert streamed.names == local.names
    for index in range(5):
        one, other = streamed.sample(index, 1, 2), local.sample(index, 1, 2)
        assert torch.equal(one.clip, other.clip)
        assert (one.name, one.label) == (other.name, other.label)
    assert len(list((elsewhere.parent / "cache").glob("*.tar"))) == 5
    whole = [Loader(streamed, 2, seed=1).batch(number).names for number in range(5)]
    ranks = [[Loader(streamed, 1, seed=1, rank=r, world=2).batch(n).names[0] for r in range(2)] for n in range(5)]
    assert whole == ranks
    assert sorted(name for names in whole for name in names) == sorted(local.names * 2)
    spoken = {word for caption in local.captions for word in caption.split()}
    assert {word for caption in streamed.captions for word in caption.split()} == spoken
    parts = [VideoFolder(elsewhere, split=split, holdout=0.4).names for split in ("train", "val")]
    assert len(parts[1]) == 2
    assert sorted(parts[0] + parts[1]) == sorted(local.names)


def test_the_cache_is_bounded_and_what_left_it_comes_back(elsewhere):
    data = VideoFolder(elsewhere, frames=4, size=16, cache_bytes=0)
    size = 3 * max(shard["filesize"] for shard in json.loads(elsewhere.read_text())["shardlist"])
    data.items.shards[:] = [(replace(s, limit=size), n) for s, n in data.items.shards]
    for index in (0, 1, 2, 3, 4, 0, 1):
        data.sample(index)
        assert sum(file.stat().st_size for file in (elsewhere.parent / "cache").iterdir()) <= size


def test_a_shard_that_does_not_come_ends_the_run_with_its_address(elsewhere, monkeypatch):
    import videofusion.data.layouts.streaming as streaming

    monkeypatch.setattr(streaming.time, "sleep", lambda seconds: None)
    elsewhere.write_text('{"shardlist": [{"url": "store:///none/there.tar", "nsamples": 3}]}')
    with pytest.raises(RunError, match=r"/none/there\.tar cannot be fetched"):
        VideoFolder(elsewhere, frames=4, size=16).sample(0)
    (elsewhere.parent / "short").write_bytes(b"abc")
    for size, reason in ((1000, "3 bytes came of 1000"), (2, "more than 2 bytes")):
        shard = {"url": f"store://{elsewhere.parent}/short", "nsamples": 3, "filesize": size}
        elsewhere.write_text(json.dumps({"shardlist": [shard]}))
        with pytest.raises(RunError, match=reason):
            VideoFolder(elsewhere, frames=4, size=16).sample(0)
    elsewhere.write_text("{}")
    with pytest.raises(InputError, match="shardlist"):
        VideoFolder(elsewhere)
