"""`videofusion data curate`: what it says and how it ends."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from videofusion.cli import main

SKIP = ["--skip", "text", "aesthetics", "similarity", "captions"]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 255, (8, 40, 3), np.uint8).repeat(6, 0).repeat(6, 1)
    for name, step in (("moves", 2), ("stands", 0)):
        with av.open(str(folder / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for number in range(15):
                shown = np.ascontiguousarray(picture[:, number * step : number * step + 64])
                file.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
            file.mux(stream.encode(None))
    return folder


def test_it_names_what_it_drops_and_counts_what_it_keeps(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for needed in ("scenedetect", "cv2", "pyarrow"):
        pytest.importorskip(needed)
    (videos / "broken.mp4").write_text("no video")
    out = tmp_path / "out"
    assert main(["data", "curate", str(videos), str(out), *SKIP, "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "not readable: broken.mp4: not a video" in said
    assert "dropped: 1: motion below 0.1" in said
    assert f"1 of 2 clips (1.5 s) kept in {out}" in said
    assert (out / "report.html").is_file()
    # what is asked for takes the place of the default
    assert main(["data", "curate", str(videos), str(out), *SKIP, "--workers", "0", "--min", "motion=p0"]) == 0
    assert "2 of 2 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "stages captions, aesthetics, similarity have no weights: give --caption-middle, --caption-video, "
             "--caption-llm, --clip, --aesthetic-head, or leave out with --skip captions aesthetics similarity"),
        (["--skip", "text", "captions", "aesthetics"],
         "stage similarity has no weights: give --clip, or leave out with --skip similarity"),
        (["--skip", "captions", "--clip", "x"],
         "stage aesthetics has no weights: give --aesthetic-head, or leave out with --skip aesthetics"),
        ([*SKIP, "--min", "motion>1"], '--min is "motion>1"; it must be like motion=0.5'),
        ([*SKIP, "--max", "text_area=0.1"], '"max text_area=0.1" names an unknown column'),
    ],
)  # fmt: skip
def test_what_could_not_work_is_one_sentence_before_any_work(
    options: list[str], sentence: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "curate", str(videos), str(tmp_path / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["data", "curate", str(videos), str(tmp_path / "out"), *SKIP]) == 2
    assert "videofusion[curation]" in capsys.readouterr().err
