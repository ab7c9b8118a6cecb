"""Folders with damaged files: what the check names, what training leaves out, and how much memory both take.

A few files in the fast suite, the thousand with 200 damaged ones by `pytest -m slow tests/data/test_damage.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from damage import FRAMES, KINDS, WAYS, make_folder, sizes_in, write_video
from full_decode import complaint

from videofusion.data.checking import check_folder, check_item
from videofusion.data.items import Item
from videofusion.video.decode import VideoFile

# files, damaged ones, different videos of each kind
COUNTS = [pytest.param((48, 24, 1), id="48"), pytest.param((1000, 200, 4), id="1000", marks=pytest.mark.slow)]
MEGABYTE = 2**20
# Runs in a process of its own: peak resident memory is of a process, and this one has seen much.
CHECK = """
import sys
from pathlib import Path
from videofusion.data.checking import check_folder
found = check_folder(sys.argv[1], frames=1)
status = Path("/proc/self/status").read_text()
print(len(found), status.partition("VmHWM:")[2].split()[0])
"""


@pytest.fixture(scope="module", params=COUNTS)
def damaged(request, tmp_path_factory):
    count, touched, variants = request.param
    folder = tmp_path_factory.mktemp("damaged") / "clips"
    done = make_folder(folder, count, touched, variants=variants)
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


@pytest.mark.parametrize("kind", KINDS)
def test_an_absurd_size_is_judged_as_a_full_decode_does(kind, tmp_path):
    path = tmp_path / f"a{KINDS[kind][0]}"
    write_video(path, kind, 0)
    data = path.read_bytes()
    assert complaint(path) is check_item(Item(path.name, VideoFile(path))) is None
    for what, change in sizes_in(data).items():
        path.write_bytes(change())
        expected, found = complaint(path), check_item(Item(path.name, VideoFile(path)))
        assert (expected is None) == (found is None), (what, expected, found)


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


# Python 3.12 warns of forks in a process with threads, which torch's workers are.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_training_over_the_folder_ends_and_tells_what_it_left_out(damaged, tmp_path):
    # they take a while to load, which the other tests here need not wait for
    from videofusion.cli import main
    from videofusion.comparison.runs import option_words
    from videofusion.data.folder import VideoFolder
    from videofusion.recipes.catalogue import get_recipe

    folder, _, expected = damaged
    if len(list(folder.iterdir())) < 1000:
        pytest.skip("so few files may leave the validation none that can be read: only with a thousand")
    # Clips of all frames: no window misses the damage. At least one epoch is seen.
    sets = {
        "clips.frames": FRAMES,
        "clips.size": 8,
        "network.patch": 1,
        "network.channels": "16,16",
        "system.residual_channels": "16,16",
        "network.heads": 2,
    }
    sets |= {
        "network.attention": "none,none",
        "network.blocks": 1,
        "text.size": 16,
        "batch.size": 4,
        "batch.workers": 2,
    }
    sets |= {
        "log.sample_interval": 0,
        "log.validation_batches": 1,
        "checkpoints.interval": 1000,
        "log.boards": "",
        "optimizer.warmup": 1,
    }
    run, steps = tmp_path / "run", 300
    words = ["train", "folder64", "--data", str(folder), "--run", str(run), "--device", "cpu", "--steps", str(steps)]
    values = get_recipe("folder64", sets).dotted()
    assert main([*words, *(word for key in sets for word in option_words(key, values[key]))]) == 0
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    left_out = {line["clip"]: line["reason"] for line in lines if line["event"] == "left out"}
    assert left_out
    assert left_out.keys() <= expected.keys()
    held_out = set(VideoFolder(folder, split="val", holdout=get_recipe("folder64").clips.validation_share).names)
    assert left_out.keys() >= expected.keys() - held_out
    told = [line["text"] for line in lines if line["event"] == "note"]
    assert any(f"{len(left_out)} clips could not be used" in text for text in told)
    assert json.loads((run / "session.json").read_text())["state"] == "finished"
