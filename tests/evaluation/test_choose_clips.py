"""Which clips a protocol takes of a folder, and the folders that it refuses."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from videofusion.clip import write_clip
from videofusion.errors import InputError, RunError
from videofusion.evaluation.choose_clips import check_apart, generated_clips, real_clips
from videofusion.evaluation.clip_sets import without_ending
from videofusion.evaluation.protocol_table import find_preset

PRESET = replace(find_preset("embedded"), count=3, real_count=3, frames=4, size=8)


def write(folder, lengths, size=(8, 8), seed=0):
    """Clips as arrays of random bytes whose frames start with their number."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, length in lengths.items():
        frames = rng.integers(0, 256, (1, length, *size, 3), np.uint8)
        frames[0, :, 0, 0, 0] = np.arange(length)
        np.save(folder / f"{name}.npy", frames)
    return folder


def numbers(clips, i):
    """The frames' numbers, read from the clip's own pixels."""
    return ((clips.clip(i)[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_generated_clips_begin_at_the_first_frame(tmp_path):
    clips = generated_clips(write(tmp_path / "made", {"a": 4, "b": 9, "c": 7, "d": 5}), PRESET)
    assert len(clips) == 3
    assert [numbers(clips, i) for i in range(3)] == [[0, 1, 2, 3]] * 3
    assert len({clips.key(i) for i in range(3)}) == 3
    assert clips.clip(0).shape == (4, 3, 8, 8)
    assert clips.clip(0).dtype == torch.float32


def test_a_folder_that_generate_wrote(tmp_path):
    for name in ("a", "b", "c"):
        write_clip(torch.zeros(4, 3, 16, 16), tmp_path / f"{name}.mp4", 8)
        write_clip(torch.zeros(4, 3, 16, 16), tmp_path / f"{name}.png", 8)
    states = [("a", "done"), ("d", "failed"), ("b", "failed"), ("b", "done"), ("c", "done")]
    lines = [json.dumps({"row": i, "id": name, "state": state}) for i, (name, state) in enumerate(states)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    clips = generated_clips(tmp_path, PRESET)
    assert {clips.key(i) for i in range(3)} == {"a.mp4@0", "b.mp4@0", "c.mp4@0"}


def test_the_seed_and_nothing_else_chooses(tmp_path):
    folder = write(tmp_path / "real", {f"v{i}": 9 for i in range(8)})

    def chosen(seed):
        clips = real_clips(folder, PRESET, seed=seed)
        return [clips.key(i) for i in range(len(clips))]

    assert chosen(1) == chosen(1)
    assert len({tuple(chosen(seed)) for seed in range(5)}) > 1
    one, two = (real_clips(folder, PRESET, seed=seed).describe() for seed in (0, 1))
    assert one["items_sha256"] == two["items_sha256"]
    assert one["picks_sha256"] != two["picks_sha256"]


@pytest.mark.parametrize(
    ("start", "stride", "allowed"),
    [
        ("first", 1, {(0, 1, 2, 3)}),
        ("first", 3, {(0, 3, 6, 9)}),
        ("spread", 1, {(0, 2, 5, 8)}),
        ("video", 3, {(0, 3, 6, 9), (1, 4, 7, 10)}),
        ("window", 3, {(0, 3, 6, 9), (1, 4, 7, 10)}),
    ],
)
def test_where_a_real_clip_begins(start, stride, allowed, tmp_path):
    folder = write(tmp_path / "real", {f"v{i}": 11 for i in range(6)})
    preset = replace(PRESET, start=start, stride=stride, real_count=6)
    clips = real_clips(folder, preset)
    assert {tuple(numbers(clips, i)) for i in range(len(clips))} == allowed


def test_a_window_is_as_likely_as_any_other_and_comes_once(tmp_path):
    folder = write(tmp_path / "real", {"long": 18, "short": 4})  # 15 windows and 1
    preset = replace(PRESET, start="window", real_count=8)
    counts = Counter()
    for seed in range(40):
        clips = real_clips(folder, preset, seed=seed)
        keys = [clips.key(i) for i in range(len(clips))]
        assert len(set(keys)) == 8
        assert all(row == list(range(row[0], row[0] + 4)) for row in (numbers(clips, i) for i in range(8)))
        counts.update(keys)
    assert len(counts) == 16
    assert counts["short.npy[0]@0"] == pytest.approx(20, abs=10)


def test_all_videos_where_the_protocol_names_no_number_and_short_ones_are_left_out(tmp_path):
    folder = write(tmp_path / "real", {"a": 9, "b": 2, "c": 5})
    clips = real_clips(folder, replace(PRESET, real_count=None))
    told = clips.describe()
    assert len(clips) == told["used"] == told["videos"] == 2
    assert told["left_out_first"] == {"b.npy[0]": "too short: 2 frames, needed are 4"}


def test_the_part_that_the_data_name_or_else_what_is_given(tmp_path):
    clip = torch.zeros(4, 3, 16, 16)
    for part in ("train", "test"):
        for i in range(3):
            (tmp_path / "real" / part).mkdir(parents=True, exist_ok=True)
            write_clip(clip, tmp_path / "real" / part / f"{i}.mp4", 8)
    train = real_clips(tmp_path / "real", replace(PRESET, split="train"))
    assert {train.key(i).split("/")[0] for i in range(3)} == {"train"}
    assert train.describe()["split"] == "train, as the data name it"
    assert real_clips(tmp_path / "real" / "test", replace(PRESET, split="train")).describe()["split"] == "as given"
    with pytest.raises(InputError, match=r"takes the val part, but .* names test, train"):
        real_clips(tmp_path / "real", replace(PRESET, split="val"))


def test_generated_folders_that_are_refused(tmp_path):
    few = write(tmp_path / "few", {"a": 4, "b": 4})
    with pytest.raises(InputError, match=r'"[^"]*few" gives 2, but embedded takes 3'):
        generated_clips(few, PRESET)
    with pytest.raises(InputError, match=r'1 in .* too short; "c.npy\[0\]" has 3 frames, embedded takes 4'):
        generated_clips(write(few, {"c": 3}), PRESET)
    write(tmp_path / "mixed", {"a": 4, "b": 4})
    with pytest.raises(InputError, match=r'2 sizes: "a.npy\[0\]" 8x8, "c.npy\[0\]" 12x8'):
        generated_clips(write(tmp_path / "mixed", {"c": 4}, size=(8, 12)), PRESET)
    with pytest.raises(InputError, match="is 8x8, but embedded compares clips of 9x9"):
        generated_clips(few, replace(PRESET, size=9))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.mp4").write_text("no video at all")
    with pytest.raises(InputError, match=r'1 in ".*broken" cannot be used; "x.mp4": not a video'):
        generated_clips(tmp_path / "broken", PRESET)
    floats = tmp_path / "floats"
    floats.mkdir()
    np.save(floats / "a.npy", np.full((3, 4, 8, 8, 3), np.nan, np.float32))
    with pytest.raises(InputError, match="holds float32; it must hold uint8"):
        generated_clips(floats, PRESET)


def test_real_folders_that_are_refused(tmp_path):
    real = write(tmp_path / "real", {"a": 4, "b": 3, "c": 5})
    with pytest.raises(InputError, match="gives 2, but embedded takes 3"):
        real_clips(real, PRESET)
    with pytest.raises(InputError, match=r"none in .* is long enough; embedded takes 4 frames, every 3, which is 10"):
        real_clips(real, replace(PRESET, stride=3))
    write(real, {"d": 9}, size=(8, 12))
    with pytest.raises(InputError, match=r"2 sizes.*mixed_sizes allows it"):
        real_clips(real, PRESET)
    clips = real_clips(real, PRESET, mixed=True)
    assert {tuple(clips.clip(i).shape) for i in range(3)} == {(4, 3, 8, 8)}


@pytest.mark.parametrize("how", ["the same folder", "a copy under another name"])
def test_sets_that_share_a_file_are_refused(how, tmp_path):
    made = write(tmp_path / "made", {"a": 4, "b": 4, "c": 4})
    real = made if how == "the same folder" else write(tmp_path / "real", {"d": 4, "e": 4}, seed=1)
    if real != made:
        check_apart(generated_clips(made, PRESET), real_clips(real, replace(PRESET, real_count=2)))
        (real / "f.npy").write_bytes((made / "b.npy").read_bytes())
    with pytest.raises(InputError, match=r"generated and real clips share files: \"[abc].npy\[0\]\" of"):
        check_apart(generated_clips(made, PRESET), real_clips(real, PRESET))


def test_a_video_that_is_damaged_inside_is_named(tmp_path):
    made = write(tmp_path / "made", {"a": 4, "b": 4, "c": 4})
    clips = generated_clips(made, PRESET)
    for file in made.iterdir():
        file.unlink()
    with pytest.raises(RunError, match=r'"[abc].npy\[0\]" of .*made cannot be read'):
        clips.clip(0)


PAIRED = replace(find_preset("paired"), count=3, real_count=3, frames=4, size=8)


def paired(tmp_path, preset=PAIRED, **options):
    made = generated_clips(tmp_path / "made", preset, **options)
    return made, real_clips(tmp_path / "real", preset, partners=made, **options)


def test_pairs_have_one_name_and_begin_at_the_first_frame(tmp_path):
    write(tmp_path / "made", dict.fromkeys("abcd", 4), seed=1)
    for i, name in enumerate("xdcba"):
        write(tmp_path / "real", {name: 9}, seed=i)
    made, real = paired(tmp_path)
    names = [made.key(i) for i in range(3)]
    assert [real.key(i) for i in range(3)] == names
    assert len(set(names)) == 3
    assert [numbers(real, i) for i in range(3)] == [[0, 1, 2, 3]] * 3


def test_the_ending_and_the_prompts_of_generated_files_do_not_count(tmp_path):
    for folder, ending in (("made", "mp4"), ("real", "gif")):
        for name in ("x/a", "x/b.1", "c"):
            file = tmp_path / folder / f"{name}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_clip(torch.rand(4, 3, 16, 16) * (1 if folder == "made" else -1), file, 8)
    line = {"row": 0, "id": "c", "state": "done", "prompt": "a sea", "files": ["c.mp4"]}
    (tmp_path / "made" / "results.jsonl").write_text(json.dumps(line) + "\nno row\n")
    made, real = paired(tmp_path)
    found = {made.key(i): (real.key(i), made.caption(i), real.caption(i)) for i in range(3)}
    assert found == {
        "x/a.mp4@0": ("x/a.gif@0", "", ""),  # one folder of files is no class
        "x/b.1.mp4@0": ("x/b.1.gif@0", "", ""),
        "c.mp4@0": ("c.gif@0", "a sea", ""),
    }
    assert made.describe()["captions_sha256"] != real.describe()["captions_sha256"]


@pytest.mark.parametrize(
    ("name", "bare"),
    [("a/b.1.mp4", "a/b.1"), ("a/b.1", "a/b.1"), ("c.NPY[3]", "c[3]"), ("a.mp4/b", "a.mp4/b"), ("d.webm", "d")],
)
def test_only_what_is_an_ending_is_left_out_of_a_name(name, bare):
    assert without_ending(name) == bare


def test_clips_without_a_partner_are_named(tmp_path):
    write(tmp_path / "made", {"a": 4, "b": 4, "c": 4}, seed=1)
    real = write(tmp_path / "real", {"a": 4, "b": 3, "d": 5})
    with pytest.raises(InputError, match=r'2 of 3 .* no real clip of their name .*"[bc].npy\[0\]" takes a "[bc]\[0\]"'):
        paired(tmp_path)
    write(real, {"c": 4})
    with pytest.raises(InputError, match=r'"b.npy\[0\]" takes a "b\[0\]" with any ending; it is too short: 3 frames'):
        paired(tmp_path)
    with pytest.raises(InputError, match="partners are not given, but paired pairs real clips with generated ones"):
        real_clips(real, PAIRED)
    twins = tmp_path / "twins"
    twins.mkdir()
    for ending in ("gif", "mp4"):
        write_clip(torch.rand(4, 3, 16, 16), twins / f"a.{ending}", 8)
    with pytest.raises(InputError, match=r'"a.gif" and "a.mp4" in .*twins" have one name without the ending'):
        real_clips(twins, PAIRED, partners=generated_clips(tmp_path / "made", PAIRED))
