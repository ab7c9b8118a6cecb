"""Records and tables: all that counts is in them, and unlike numbers are kept apart."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.clip_sets import LiveClips
from videofusion.evaluation.extractors import NetworkExtractor
from videofusion.evaluation.metric_kinds import Measured
from videofusion.evaluation.protocol_table import find_preset
from videofusion.evaluation.record import write_record
from videofusion.evaluation.record_table import joined_table, make_record, read_record, result_table

FOUND = {
    "fvd": Measured(value=123.456, interval=(100.0, 140.0), at_infinity=90.0, misfit=0.5, held=(300, 300)),
    "kvd": Measured(value=0.25),
}


def record(name="tats", count=300, found=FOUND, model="a"):
    made = LiveClips(lambda i: torch.zeros(1), count, {"model": model})
    real = LiveClips(lambda i: torch.zeros(1), count, {"data": "real"})
    extractor = NetworkExtractor(torch.nn.Identity(), name="i3d", checksum="abc")
    return make_record(
        find_preset(name).changed(count=count), found, made, real, {"i3d": extractor}, seed=7, replicates=50
    )


def test_a_record_survives_its_file_and_names_all_that_counts(tmp_path):
    write_record(tmp_path / "a.json", record())
    found = read_record(tmp_path / "a.json")
    assert {key: value for key, value in found.items() if key != "versions"} == record()
    assert found["versions"]["videofusion"]
    assert found["protocol"]["name"] == "tats"
    assert found["protocol"]["count"] == found["clips"]["real"] == 300
    assert found["extractors"] == {"i3d": {"sha256": "abc"}}
    assert found["seed"] == 7
    assert found["metrics"]["fvd"]["interval"] == [100.0, 140.0]
    assert found["added"] == {}
    assert len(found["real"]["items_sha256"]) == 64


def test_what_has_to_be_said_is_above_the_numbers():
    table = result_table(record())
    assert "unreliable" not in table
    assert "300 generated clips" in table
    row = next(line for line in table.splitlines() if line.startswith("| fvd"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "fvd",
        "123.5",
        "100 to 140",
        "90 (misfit 0.5)",
        "",
        "lower",
    ]
    score = {"is": Measured(value=9.5, deviation=0.25, interval=(9.0, 10.0))}
    row = result_table(record(found=score)).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["is", "9.5 ± 0.25", "9 to 10", "", "", "higher"]
    motion = {
        "flicker": Measured(value=0.25, of_real=0.5),
        "psnr": Measured(value=30.0),
        "clip-drift": Measured(value=0.1),
        "clip-diversity": Measured(value=0.1),
    }
    rows = result_table(record(found=motion)).splitlines()[-4:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["flicker", "0.25", "", "", "0.5", "like real"]
    assert [row[-1] for row in cells[1:]] == ["higher", "lower", "like real"]
    known = {"value": 2.0, "interval": (1.0, 3.0), "misfit": 0.125}
    for at_infinity, bounds, cell in (
        (-0.25, (-1.0, 0.5), "-0.25 (-1 to 0.5; misfit 0.12; not told from 0)"),
        (1.5, (1.0, 2.0), "1.5 (1 to 2; misfit 0.12)"),
        (-0.25, None, "-0.25 (misfit 0.12; not told from 0)"),
    ):
        found = {"fvd": Measured(**known, at_infinity=at_infinity, at_infinity_interval=bounds)}
        assert f"| {cell} |" in result_table(record(found=found))
    assert "unreliable: under 256 clips" in result_table(record(count=255))
    for name in ("embedded", "digits"):
        assert "not comparable with published numbers" in result_table(record(name))
    assert "left out" not in table
    assert "3 real videos are left out" in result_table(changed(("real", "left_out"), 3))


def test_records_of_one_protocol_stand_in_one_table():
    other = record(found={"fvd": Measured(value=7.0)}, model="b")
    table = joined_table({"one": record(), "two": other}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    assert cells[0] == ["", "fvd (lower)", "kvd (lower)"]
    assert cells[2:] == [["one", "123.5 (100 to 140)", "0.25"], ["two", "7", ""]]
    assert "real clips" not in joined_table({"one": record()})
    assert "unreliable" in joined_table({"one": record(count=9)})
    moves = record(found={"flicker": Measured(value=0.25, of_real=0.5)})
    moves["notes"] = ["of digits"]
    table = joined_table({"one": record(), "two": moves}).splitlines()
    assert table[1] == "of digits"
    assert [cell.strip() for cell in table[-1].strip("|").split("|")] == ["real clips", "", "", "0.5"]


def changed(place, value):
    found = copy.deepcopy(record())
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return found


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (record("latte"), "they are of the protocols latte and tats"),
        (record(count=299), "count of tats is 299 in one and 300 in the other"),
        (changed(("protocol", "resize"), "bicubic-antialias"), "resize of tats is bicubic-antialias in one"),
        (changed(("clips", "real"), 301), "one has 301 real clips and the other 300"),
        (changed(("extractors", "i3d", "sha256"), "abd"), "the weights of i3d have other checksums"),
        (changed(("real", "items_sha256"), "0"), "the real clips are others"),
    ],
)
def test_unlike_records_are_refused_with_the_reason(other, reason):
    with pytest.raises(InputError, match=f'"two" and "one" cannot share a table: {reason}'):
        joined_table({"one": record(), "two": other})


def test_what_is_no_record(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_record(tmp_path / "absent.json")
    (tmp_path / "other.json").write_text(json.dumps({"kind": "shopping list"}))
    with pytest.raises(InputError, match="is not a record of an evaluation"):
        read_record(tmp_path / "other.json")
    with pytest.raises(InputError, match="no record is given"):
        joined_table({})
