"""Records, checksums and tables."""

import json

import pytest

from videofusion.errors import InputError, RunError
from videofusion.evaluation.record import checksum, markdown_table, write_record


def test_a_folder_s_checksum_follows_its_weights_and_names(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "w.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_text("{}")
    (two / "notes.txt").write_text("not part of the model")
    assert checksum(one) == checksum(two)
    (two / "unet" / "w.safetensors").write_bytes(b"others")
    assert checksum(one) != checksum(two)
    with pytest.raises(InputError, match="neither a file"):
        checksum(tmp_path / "absent")


def test_a_record_carries_its_versions_and_is_whole(tmp_path):
    path = tmp_path / "new" / "record.json"
    write_record(path, {"digit": 0.5})
    record = json.loads(path.read_text())
    assert record["digit"] == 0.5
    assert record["versions"]["torch"]
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_a_record_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_record(tmp_path / "file" / "record.json", {})


def test_a_table_has_a_line_per_row_of_one_width():
    lines = markdown_table(["a", "long name"], [["something", 1], ["b", 22]]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
