"""Files of strangers: one that is wrong is named, runs nothing, takes little, and the others go on."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from videofusion.cli import main
from videofusion.data.checking import check_folder
from videofusion.data.items import part
from videofusion.data.layouts.detection import open_source
from videofusion.data.layouts.encoded import FORMAT
from videofusion.data.statistics import folder_report
from videofusion.errors import InputError
from videofusion.video.stills import natural

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(RAN) (w) file closefile\nshowpage\n%%EOF\n"


def png(width: int, height: int) -> bytes:
    """A whole PNG of one colour, of so many pixels in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(b"\0" * (1 + -(-width // 8))) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int, pictures: int) -> bytes:
    """A GIF whose pictures change a point of a canvas each."""
    screen = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    out = bytearray(b"GIF89a" + screen + b"\x80\0\0" + b"\0\0\0\xff\xff\xff")
    for number in range(pictures):
        place = (number % 2).to_bytes(2, "little") * 2
        out += b"!\xf9\x04\x04\x0a\0\0\0," + place + b"\1\0\1\0\0" + b"\x02\x02\x44\x01\0"
    return bytes(out + b";")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two folders of frames."""
    for name in ("good", "other"):
        (tmp_path / "frames" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "frames" / name / f"{number}.png")
    return tmp_path / "frames"


PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "eps": (lambda path: path.write_bytes(EPS), "no picture that can be read"),
    "tiff": (lambda path: Image.new("RGB", (8, 8)).save(path, "TIFF"), "no picture that can be read"),
    "large": (lambda path: path.write_bytes(png(20_000, 8_000)), "20000x8000 pixels large|no picture"),
    "wide": (lambda path: path.write_bytes(b"P6 1000000000 1 255\n"), "1000000000x1 pixels large|no picture"),
    "pipe": (os.mkfifo, "a named pipe, not a regular file"),
    "zero": (lambda path: path.symlink_to("/dev/zero"), "a device, not a regular file"),
    "folder": (lambda path: path.mkdir(), ""),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("number", [0, 1])
def test_a_picture_that_is_none_is_named_and_the_others_count(kind: str, number: int, frames: Path) -> None:
    make, reason = PICTURES[kind]
    (frames / "good" / f"{number}.png").unlink()
    make(frames / "good" / f"{number}.png")
    bad = dict(check_folder(frames, layout="frames"))
    if not reason:
        assert bad.keys() <= {"good"}
        return
    assert bad.keys() == {"good"}
    import re

    assert re.search(reason, bad["good"]) or "cannot be read" in bad["good"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gs"), reason="Ghostscript is not here")
def test_ghostscript_is_not_started(frames: Path, tmp_path: Path) -> None:
    """Pillow would start it for an EPS by any name."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\nexec {shutil.which("gs")} "$@"\n')
    program.chmod(0o755)
    for number in range(3):
        (frames / "good" / f"{number}.png").write_bytes(EPS)
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    pillow = f"from PIL import Image; Image.open({str(frames / 'good' / '0.png')!r}).load()"
    subprocess.run([sys.executable, "-c", pillow], env=environment, capture_output=True)
    assert (tmp_path / "started").exists()  # so the test would see it
    (tmp_path / "started").unlink()
    words = [sys.executable, "-m", "videofusion", "data", "check", str(frames), "--layout", "frames"]
    assert subprocess.run(words, env=environment, capture_output=True).returncode == 1
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("width", "height", "pictures"), [(6000, 4000, 100), (4000, 2000, 4000), (60_000, 60_000, 1)])
def test_a_small_gif_may_not_take_long(width: int, height: int, pictures: int, tmp_path: Path, video) -> None:
    video(tmp_path / "good.mp4", 3)
    (tmp_path / "bad.gif").write_bytes(gif(width, height, pictures))
    assert [name for name, _ in check_folder(tmp_path)] == ["bad.gif"]


def test_honest_animations_are_read(tmp_path: Path) -> None:
    (tmp_path / "still.gif").write_bytes(gif(320, 240, 400))
    assert check_folder(tmp_path) == []


VIDEOS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "tty": lambda path: path.symlink_to("/dev/tty"),
    "a playlist": lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n"),
    "a list of files": lambda path: path.write_text("ffconcat version 1.0\nfile /etc/passwd\n"),
    "a picture": lambda path: path.write_bytes(EPS),
}


@pytest.mark.parametrize("kind", VIDEOS)
@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif"])
def test_a_video_that_is_none_is_named_and_the_others_count(kind: str, ending: str, tmp_path: Path, video) -> None:
    video(tmp_path / "good.mp4", 3)
    VIDEOS[kind](tmp_path / f"bad{ending}")
    assert [name for name, _ in check_folder(tmp_path)] == [f"bad{ending}"]
    assert "bad       1" in folder_report(tmp_path)


def test_arrays_with_nothing_behind_them_are_refused(tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1, 1, 1), np.uint8))
    cases = {"sparse": (64, 10**7, 64, 64), "many": (1, 10**9, 1, 1), "large": (2, 2, 100_000, 100_000)}
    for name, shape in cases.items():
        with (tmp_path / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
            file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))
        with pytest.raises(InputError, match="it is sparse"):
            open_source(tmp_path / f"{name}.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    np.save(tmp_path / "good.npy", np.zeros((2, 3, 8, 8), np.uint8))
    found = open_source(tmp_path)
    assert [item.name for item in found.items] == ["good.npy[0]", "good.npy[1]", "good.npy[2]"]
    assert found.problems.keys() == {"sparse.npy", "many.npy", "large.npy", "pipe.npy"}
    np.save(tmp_path / "pickle.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(tmp_path / "pickle.npy")


ROWS = {
    "nested": '{"file_name": "a.mp4", "text": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "digits": '{"file_name": "a.mp4", "text": "a", "fps": ' + "9" * 5000 + "}",
    "half": '{"file_name": "a.mp4", "text": "\\ud83d"}',
    "half of a name": '{"file_name": "\\udc00.mp4", "text": "a"}',
    "no object": "[1]",
    "a list for a name": '{"file_name": ["a.mp4"], "text": "a"}',
    "an object for a name": '{"file_name": {"a": 1}, "text": "a"}',
    "infinite": '{"file_name": "a.mp4", "text": "a", "fps": 1e999}',
    "no number": '{"file_name": "a.mp4", "text": "a", "fps": NaN}',
    "a long number": '{"file_name": "a.mp4", "text": "a", "fps": "' + "9" * 5000 + '"}',
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("table", ["metadata.jsonl", "list.jsonl", "list.json"])
def test_a_bad_row_never_ends_all(kind: str, table: str, tmp_path: Path, video) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / name, 3)
    good = '{"file_name": "b.mp4", "text": "good"}'
    text = f"[{ROWS[kind]}, {good}]" if table.endswith(".json") else f"{ROWS[kind]}\n{good}\n"
    (tmp_path / table).write_text(text)
    if table.endswith(".json") and kind in ("nested", "digits", "half", "half of a name"):
        with pytest.raises(InputError):  # it is one text: nothing of it can be told apart
            open_source(tmp_path / table)
        return
    source = open_source(tmp_path if table == "metadata.jsonl" else tmp_path / table)
    assert source.captions.get("b.mp4") == "good"
    for problem in source.problems.values():
        problem.encode()
        assert len(problem) < 500
    if table == "metadata.jsonl":  # NaN is how others write that there is nothing
        assert bool(source.problems) == (kind != "no number")


@pytest.mark.parametrize("letters", [131_073, 500_000])
def test_a_long_cell_of_a_csv_is_named(letters: int, tmp_path: Path, video) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / name, 3)
    rows = [("file_name", "text"), ("a.mp4", "x" * letters), ("b.mp4", "good")]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    source = open_source(tmp_path)
    assert source.captions == {"b.mp4": "good"}
    assert f"has {letters:,} letters" in source.problems["metadata.csv, line 2"]


def test_times_that_are_none_are_named(tmp_path: Path, video) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / name, 8)
    spans = ["9" * 400 + ":00:00", "1e5", "nan", "-1", "1" * 5000]
    lines = [json.dumps({"file_name": "a.mp4", "text": "a", "start": each, "end": "2"}) for each in spans]
    lines.append(json.dumps({"file_name": "b.mp4", "text": "good"}))
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    source = open_source(tmp_path / "list.jsonl")
    assert [item.name for item in source.items] == ["b.mp4"]
    assert len(source.problems) == len(spans)


def test_tables_that_are_no_files_are_named(tmp_path: Path, video) -> None:
    video(tmp_path / "a.mp4", 3)
    os.mkfifo(tmp_path / "metadata.csv")
    assert "named pipe" in str(open_source(tmp_path).problems)
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.jsonl").symlink_to("/dev/zero")
    assert "a device" in str(open_source(tmp_path).problems)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def whole(name: str, data: bytes) -> bytes:
    return header(name, len(data)) + data + b"\0" * (-len(data) % 512)


TARS = {
    "a video of 500 GB": lambda good: good + header("x.mp4", 500 * 10**9),
    "a text of 500 GB": lambda good: good + header("x.json", 500 * 10**9),
    "a name of 500 GB": lambda good: good + header("x", 500 * 10**9, tarfile.GNUTYPE_LONGNAME),
    "an extension of 500 GB": lambda good: good + header("x", 500 * 10**9, tarfile.XHDTYPE),
    "a global extension of 500 GB": lambda good: good + header("x", 500 * 10**9, tarfile.XGLTYPE),
    "a chain of extensions": lambda good: good + header("x", 0, tarfile.XHDTYPE) * 5000,
    "a chain of names": lambda good: good + header("x", 0, tarfile.GNUTYPE_LONGNAME) * 5000,
    "a device": lambda good: good + header("x.mp4", 0, tarfile.CHRTYPE) + bytes(1024),
    "a nested text": lambda good: good + whole("x.json", b"[" * 200_000) + bytes(1024),
    "a half of a letter": lambda good: (
        good + whole("x.json", b'{"text": "\\ud800"}') + whole("x.mp4", b"") + bytes(1024)
    ),
    "5,000 digits": lambda good: good + whole("x.json", b'{"fps": ' + b"9" * 5000 + b"}") + bytes(1024),
    "a list": lambda good: good + whole("x.json", b"[]") + whole("x.txt", b"a") + bytes(1024),
    "a sparse one": lambda good: good + header("x.mp4", 10**6, tarfile.GNUTYPE_SPARSE) + bytes(1024),
    "bytes for a name": lambda good: good + whole("\udcff\udcfe.txt", b"a") + bytes(1024),
}


@pytest.mark.parametrize("kind", TARS)
def test_a_bad_member_of_a_tar_is_named_and_the_others_count(kind: str, tmp_path: Path, video) -> None:
    good = whole("good.mp4", video(tmp_path / "made" / "0.mp4", 3).read_bytes()) + whole("good.txt", b"good")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.tar").write_bytes(TARS[kind](good))
    source = open_source(tmp_path / "data")
    assert source.captions == {"0.tar/good.mp4": "good"}
    assert source.problems or kind == "a device"
    assert [name for name, _ in check_folder(tmp_path / "data")] == sorted(source.problems)
    assert "1 videos" in folder_report(tmp_path / "data")


def test_names_that_are_no_texts_are_divided_and_printed(tmp_path: Path, video, capsys) -> None:
    names = [b"\xff.mp4", b"\x1b[2J\x1b]0;x\x07.mp4", "\u202egnp.mp4".encode(), b"a\rb.mp4", b"c.mp4"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(video(tmp_path / "made" / "0.mp4", 3).read_bytes())
    (tmp_path / os.fsdecode(b"\x1b[31m\xfe.mp4")).write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "made")
    items = open_source(tmp_path).items
    assert len(part(items, "train", 0.3)) + len(part(items, "val", 0.3)) == len(items)
    assert main(["data", "check", str(tmp_path)]) == 1
    assert main(["data", "report", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    told.encode()
    assert not set("\x1b\x07\r\u202e") & set(told)
    assert "\\x1b[31m\\udcfe.mp4" in told


FIELDS = ["name", "captions", "fps", "seconds"]
VALUES = [("name", 3), ("captions", "a"), ("captions", None), ("fps", "x"), ("fps", -1), ("seconds", float("nan"))]


@pytest.mark.parametrize("change", [*((key, None) for key in FIELDS), *VALUES], ids=str)
@pytest.mark.parametrize("drop", [True, False])
def test_an_encoded_row_without_a_field_is_named(change: tuple[str, object], drop: bool, tmp_path: Path) -> None:
    rows = [{"name": name, "captions": [name], "fps": 8, "seconds": 0.5} for name in ("a", "b")]
    rows[0] = {key: value for key, value in rows[0].items() if key != change[0]}
    rows[0] |= {} if drop else {change[0]: change[1]}
    tensors = {f"{number}.frames": torch.zeros(4, 8, 8, 3, dtype=torch.uint8) for number in range(2)}
    tensors |= {f"{number}.times": torch.arange(4, dtype=torch.float64) / 8 for number in range(2)}
    save_file(tensors, tmp_path / "00000.safetensors", {"items": json.dumps(rows)})
    made = {"autoencoder": None, "text": None, "height": 8, "width": 8, "fps": 8.0}
    (tmp_path / "encoded.json").write_text(json.dumps({"format": FORMAT, "items": 2, "made": made}))
    bad = check_folder(tmp_path)
    assert len(bad) == 1
    assert "00000.safetensors, item 0" in bad[0][0]
    assert [item.name for item in open_source(tmp_path).files][1] == "b"


def test_a_parser_error_of_a_header_of_an_array_is_a_sentence(tmp_path: Path) -> None:
    text = "(" * 5000 + "\n"
    data = io.BytesIO(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    (tmp_path / "a.npy").write_bytes(data.getvalue())
    with pytest.raises(InputError, match="cannot be read"):
        open_source(tmp_path / "a.npy")


def test_digits_that_are_no_numbers_and_long_ones_have_an_order(tmp_path: Path) -> None:
    """Python takes ² for a digit, which is no number; of a number of thousands of digits it makes none."""
    long = "7" * 5000
    names = ["1²2.png", f"{long}.png", "10.png", "9.png", "²"]
    assert sorted(names, key=natural) == ["²", "1²2.png", "9.png", "10.png", f"{long}.png"]
    for number in ("1²2", "1²10"):
        (tmp_path / "clip").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "clip" / f"{number}.png")
    assert folder_report(tmp_path, layout="frames")


def test_a_parquet_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR1junkPAR1")
    with pytest.raises(InputError, match=r"a\.parquet.* cannot be read: .*Parquet"):
        open_source(file, "table")


@pytest.mark.parametrize("name", ["../../evil.mp4", "/evil.mp4"])
def test_a_clip_of_a_shard_that_is_called_out_of_its_folder_is_named_and_the_others_go_on(
    tmp_path: Path, name: str
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for member, content in (("a.mp4", b"a"), ("a.json", json.dumps({"file_name": name}).encode()), ("b.mp4", b"b")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    source = open_source(tmp_path)
    assert [item.name for item in source.files] == ["a.tar/b.mp4"]
    assert source.problems == {"a.tar/a": f"it is called {name}, which is not a path below a folder"}
