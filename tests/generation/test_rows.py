"""Rows of prompts: what a line means, and what is said of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.errors import InputError
from videofusion.generation.rows import DEFAULTS, Row, parse_size, read_rows


def read(tmp_path: Path, *lines: object, **defaults: object) -> list[Row]:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return read_rows(path, defaults)


def test_a_row_has_what_it_gives_and_else_the_defaults(tmp_path: Path) -> None:
    own = {"seed": 5, "motion_seed": 6, "frames": 4, "size": 32, "steps": 3.0, "sampler": "ddim", "motion": 1}
    first, second = read(tmp_path, {"prompt": "a", "id": "x-1", **own}, b" \r", {"prompt": "b", "seed": None}, seed=9)
    assert first == Row(1, "x-1", {**DEFAULTS, "prompt": "a", **own, "size": "32"})
    assert (type(first.settings["steps"]), type(first.settings["motion"])) == (int, float)
    assert second == Row(3, "000003", {**DEFAULTS, "prompt": "b", "seed": 9})
    assert (first.label, second.label) == ('row 1 (id "x-1")', "row 3")


def test_equal_calls_are_those_that_differ_by_prompt_and_seeds_only(tmp_path: Path) -> None:
    rows = read(tmp_path, {"prompt": "a"}, {"prompt": "b", "seed": 1, "motion_seed": 2}, {"prompt": "a", "steps": 2})
    assert rows[0].call == rows[1].call != rows[2].call


def test_options_of_sampling_are_the_row_s_or_the_default_s(tmp_path: Path) -> None:
    rows = read(tmp_path, {"prompt": "a", "eta": 1}, {"prompt": "b"}, spacing="flow")
    assert [row.call["sampler_options"] for row in rows] == [{"spacing": "flow", "eta": 1.0}, {"spacing": "flow"}]
    (wrong,) = read(tmp_path, {"prompt": "a", "spacing": 3})
    assert wrong.reason == "spacing is 3, but must be a text"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a', "cannot be read as JSON in UTF-8"),
        (b'{"prompt": "\xff"}', "cannot be read as JSON in UTF-8"),
        (b"[" * 100_000, "cannot be read as JSON in UTF-8"),
        (b'{"prompt": "a", "guidance": 1' + b"0" * 400 + b"}", "cannot be read"),
        ([1], "the line holds [1], but must be an object"),
        ({"seed": 1}, "prompt is missing"),
        ({"prompt": 3}, "prompt is 3, but must be a text"),
        ({"prompt": "a", "stepz": 3}, 'key "stepz" is unknown (did you mean "steps"?); there are id, prompt, seed'),
        ({"prompt": "a", "steps": 2.5}, "steps is 2.5, but must be a whole number"),
        ({"prompt": "a", "steps": float("inf")}, "steps is inf"),
        ({"prompt": "a", "seed": True}, "seed is True"),
        ({"prompt": "a", "motion": "much"}, "motion is 'much', but must be a number"),
        ({"prompt": "a", "size": "8x"}, 'size is "8x"'),
        ({"prompt": "a", "size": -8}, 'size is "-8"'),
        ({"prompt": "a", "id": "../x"}, "id is '../x', but must be a file's name"),
        ({"prompt": "a", "id": ".x"}, "id is '.x'"),
    ],
)
def test_a_wrong_line_has_a_reason_and_the_others_go_on(tmp_path: Path, line: object, reason: str) -> None:
    wrong, right = read(tmp_path, line, {"prompt": "a"})
    assert reason in str(wrong.reason)
    assert wrong.name == "000001"
    assert right.reason is None


@pytest.mark.parametrize(
    "others", [({"prompt": "b", "id": "A"},), ({"prompt": "b", "id": 1}, {"prompt": "c", "id": "1"})]
)
def test_two_rows_of_one_name_are_refused(tmp_path: Path, others: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=r"rows \d, \d have the same id"):
        read(tmp_path, {"prompt": "a", "id": "a"}, *others)


def test_files_without_rows_and_defaults_of_a_wrong_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no rows"):
        read(tmp_path, b"")
    with pytest.raises(InputError, match="steps is 'two'"):
        read(tmp_path, {"prompt": "a"}, steps="two")


def test_sizes() -> None:
    assert parse_size(None, "size") == (None, None)
    assert parse_size("64x48", "size") == (64, 48)
    assert parse_size(" 32 ", "size") == (32, 32)


def test_prompts_of_a_device_without_end_are_refused() -> None:
    with pytest.raises(InputError, match="it is a device, not a regular file"):
        read_rows(Path("/dev/zero"))
