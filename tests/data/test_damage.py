"""Folders with damaged files: what the check names, what training leaves out, and how much memory both take.

A few files in the fast suite, the thousand with 200 damaged ones by `pytest -m slow tests/data/test_damage.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from damage import FRAMES, KINDS, WAYS, make_folder, write_video
from full_decode import complaint

from videofusion.data.check import check_folder

COUNTS = [pytest.param((60, 30), id="60"), pytest.param((1000, 200), id="1000", marks=pytest.mark.slow)]
MEGABYTE = 2**20
# Runs in a process of its own: peak resident memory is of a process, and this one has seen much.
CHECK = """
import sys
from pathlib import Path
from videofusion.data.check import check_folder
found = check_folder(sys.argv[1], frames=1)
status = Path("/proc/self/status").read_text()
print(len(found), status.partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module", params=COUNTS)
def damaged(request, tmp_path_factory):
    count, touched = request.param
    folder = tmp_path_factory.mktemp("damaged") / "clips"
    done = make_folder(folder, count, touched)
    complaints = {path.name: complaint(path) for path in sorted(folder.iterdir())}
    return folder, done, {name: text for name, text in complaints.items() if text is not None}


def test_the_check_names_exactly_what_a_full_decode_complains_of(damaged):
    folder, done, expected = damaged
    found = dict(check_folder(folder, frames=1))
    assert found.keys() - expected.keys() == set()
    assert expected.keys() - found.keys() == set()
    assert all(reason.strip() and "\n" not in reason for reason in found.values())
    assert found.keys() <= done.keys()  # a good file under a wrong ending is not damaged
    assert {done[name].partition(":")[0] for name in found} == set(WAYS)
    untouched = [path for path in folder.iterdir() if path.name not in done]
    endings = {kind: ending for kind, (ending, *_) in KINDS.items()}
    assert any(endings[path.stem.partition("-")[2]] != path.suffix for path in untouched)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, for the peak of memory")
def test_no_header_is_believed_a_size_that_takes_memory(damaged, tmp_path):
    folder, _, expected = damaged
    good = tmp_path / "good"
    good.mkdir()
    for kind, (ending, *_) in KINDS.items():
        write_video(good / f"{kind}{ending}", kind, 0)
    counts, peaks = zip(*(checked(place) for place in (good, folder)), strict=True)
    assert counts == (0, len(expected))
    assert peaks[1] - peaks[0] < 150 * MEGABYTE


def checked(folder: Path) -> tuple[int, int]:
    """How many files the check names, and the peak memory of the process that does it."""
    said = subprocess.run([sys.executable, "-c", CHECK, str(folder)], capture_output=True, text=True, check=True)
    count, kilobytes = said.stdout.split()
    return int(count), int(kilobytes) * 1024


def test_training_over_the_folder_ends_and_tells_what_it_left_out(damaged, tmp_path):
    folder, _, expected = damaged
    many = len(list(folder.iterdir())) >= 1000
    # Clips of all frames: no window misses the damage. At least one epoch is seen.
    sets = {"frames": FRAMES, "size": 8, "patch": 1, "channels": "16,16", "residual_channels": "16,16", "heads": 2}
    sets |= {"attention": "none,none", "blocks": 1, "text_dim": 16, "batch_size": 4, "workers": 2 if many else 0}
    sets |= {"sample_interval": 0, "validation_batches": 1, "checkpoint_interval": 1000, "log": ""}
    steps = 300 if many else 16
    run = tmp_path / "run"
    words = ["train", "folder64", "--data", str(folder), "--run", str(run), "--device", "cpu", "--steps", str(steps)]
    words += [f"--set={key}={value}" for key, value in sets.items()]
    ended = subprocess.run([sys.executable, "-m", "videofusion", *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    left_out = {line["clip"]: line["reason"] for line in lines if line["event"] == "left out"}
    assert left_out
    assert left_out.keys() <= expected.keys()
    told = [line["text"] for line in lines if line["event"] == "note"]
    assert any(f"{len(left_out)} clips could not be used" in text for text in told)
    assert json.loads((run / "session.json").read_text())["state"] == "finished"
