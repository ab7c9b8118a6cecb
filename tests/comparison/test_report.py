"""Tables and pictures of finished runs, and what is claimed of them."""

import csv
import io
import json

import pytest
import torch
from safetensors.torch import save_file

import studies.plans  # noqa: F401 - makes them known
from videofusion.comparison.claims import beside_paper, claims, orders
from videofusion.comparison.compare import REAL, SHOWN
from videofusion.comparison.plan import Claim, find_plan
from videofusion.comparison.plot import pictures, plot, sweep_points
from videofusion.comparison.report import report, table_csv
from videofusion.errors import InputError


def row(name, quality=1.0, consistency=2.0, **more):
    """A line as the first version wrote it."""
    rate = {"value": 0.5}
    return {
        "name": name,
        "parameters": 9_000_000,
        "clips": 1000,
        "quality": {"value": quality, "deviation": 0.1},
        "consistency": {"value": consistency, "deviation": 0.1},
        "rates": dict.fromkeys(("digit", "colour", "direction", "same ends"), rate),
        "place_kept": 0.9,
        **more,
    }


def of(system, *values, measure="quality"):
    return [
        {**row(f"{system}-{i}"), "system": system, measure: {"value": v, "deviation": None}}
        for i, v in enumerate(values)
    ]


def written(folder, rows, **claimed):
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    if claimed:
        (folder / "budget.json").write_text(json.dumps(claimed))
    return folder


PAIR = ("videofusion", "vdm")


def test_claims_only_what_exceeds_the_spread_over_seeds():
    def said(*rows):
        return claims(rows, [PAIR])[0]

    assert "videofusion is nearer" in said(*of("vdm", 10, 11, 12), *of("videofusion", 3, 4, 5))
    assert "no claim" in said(*of("vdm", 10, 15, 20), *of("videofusion", 9, 14, 19))
    assert "vdm is nearer" in said(*of("vdm", 1, 1.1, 1.2), *of("videofusion", 5, 5, 5))
    assert "nothing is claimed" in said(row("vdm-0"), row("videofusion-0"))
    assert "not finished" in said(row("vdm-0"), row("vdm-scratch"))


def test_further_pairs_are_told_once_both_are_there():
    further, rows = ("videofusion", "vdm-narrow"), [*of("vdm", 10, 11), *of("videofusion", 3, 4)]
    assert not any("narrow" in line for line in claims(rows, [PAIR, further]))
    lines = claims([*rows, *of("vdm-narrow", 7, 7)], [PAIR, further])
    assert [line for line in lines if line.startswith("quality") and "vdm-narrow 7 ± 0, ratio 0.50" in line]


def test_means_over_seeds_stand_with_the_lowest_and_the_highest(tmp_path):
    rows = [*of("vdm", 10, 14), *of("videofusion", 3, 5, 7), row("corrected")]
    lines = [
        " ".join(line.split()) for line in report(written(tmp_path, rows, plan="decomposed", seeds=3)).splitlines()
    ]
    assert "| vdm | 2 | 12 (10 to 14) | 2 (2 to 2) | 50 % | 50 % | 50 % | 50 % | 90 % |" in lines
    assert any(line.startswith("| videofusion | 3 | 5 (3 to 7) |") for line in lines)
    assert sum(line.startswith("| corrected |") for line in lines) == 1  # of one seed there is no mean


@pytest.mark.parametrize(("deviation", "text"), [(12.3, "85 ± 10"), (0.034, "85 ± 0.03"), (3.6, "85 ± 4")])
def test_deviations_are_numbers_that_people_read(tmp_path, deviation, text):
    rows = [{**row("vdm-0"), "quality": {"value": 85.0, "deviation": deviation}}]
    assert f" {text} " in report(written(tmp_path, rows, plan="decomposed", seeds=1))


def test_systems_stand_in_order_and_only_those_that_are_apart_are_told_apart():
    rows = [*of("worst", 9.0, 9.1), *of("best", 1.0, 1.1), *of("second", 1.05, 1.12), *of("alone", 20.0)]
    assert orders(rows, ["quality"])[0] == (
        "quality, the best first: best, then, not told apart, second before worst, then, not told apart, alone."
    )
    # of precision, more is better
    assert orders([*of("a", 0.1, 0.11, measure="recall"), *of("b", 0.8, 0.81, measure="recall")], ["recall"])[
        0
    ].endswith("b before a.")


def test_the_papers_order_is_held_beside_ours():
    plan = find_plan("videofusion-table-7")

    def order(*rows):
        lines = beside_paper([each for group in rows for each in group], plan)[1].splitlines()
        line = next(line for line in lines if "joint better than fixed-base" in line and "quality" in line)
        return line.split("|")[-2].strip()

    assert order(of("joint", 1.0, 1.1), of("fixed-base", 5.0, 5.1)) == "the same"
    assert order(of("joint", 5.0, 5.1), of("fixed-base", 1.0, 1.1)) == "the other way"
    assert order(of("joint", 1.0, 5.0), of("fixed-base", 4.0, 1.5)) == "not told apart"
    assert order(of("joint", 5.0), of("fixed-base", 1.0)) == "the other way in one seed: nothing is claimed"
    assert order(of("joint", 5.0)) == "–"


def test_a_cost_is_told_as_a_ratio():
    plan = find_plan("videofusion-table-4")
    rows = [
        {"name": name, "system": name, "measures": [], "cost": {"sampling_seconds": s, "peak_bytes": b, "gflops": 1}}
        for name, s, b in (("vdm", 2.0, 1000), ("videofusion", 1.0, 1100))
    ]
    table = beside_paper(rows, plan)[1]
    assert "1 against 2 (-50.0 %) | the same" in " ".join(table.split())
    assert "(+10.0 %)" in table
    assert "the other way" in table


def test_a_rate_is_better_when_it_is_higher():
    plan = find_plan("vdm-guidance")
    claim = Claim(better="weight-5", than="weight-2", measure="rate:digit", theirs="IS-avg 14.80 against 13.22")
    assert claim in plan.claims
    rows = [
        {**row(f"{name}-{i}"), "system": name, "rates": {"digit": {"value": value + i / 100}}}
        for name, value in (("weight-5", 0.9), ("weight-2", 0.5))
        for i in range(2)
    ]
    line = next(line for line in beside_paper(rows, plan)[1].splitlines() if "14.80" in line)
    assert line.split("|")[-2].strip() == "the same"


def test_table_and_plot_of_a_folder_of_the_first_version(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        report(tmp_path)
    rows = [row("vdm-0", 10), row("videofusion-0", 4), row("share-0", 9), row("share-0.9", 5), {"name": "base-narrow"}]
    written(tmp_path, rows, seconds=1200.0, base_seconds=600.0, seeds=3, clips=128, threads=1)
    table = report(tmp_path)
    assert "base-narrow" not in table
    assert "GFLOP" not in table  # which no run has
    assert "ratio 0.40" in table
    plan = find_plan("decomposed")
    assert [point[0] for point in sweep_points(rows[:4], plan, "quality")] == [0.0, 0.9]
    assert pictures(tmp_path) == []
    pytest.importorskip("matplotlib")
    plot(tmp_path, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_systems_cost_and_their_curves_and_clips(tmp_path):
    pytest.importorskip("matplotlib")
    cost = {"gflops": 12.0, "sampling_seconds": 0.5, "peak_bytes": 2_000_000}
    near = {"quality": {"value": 3.0, "deviation": 0.1}, "consistency": {"value": 3.0, "deviation": None}}
    curves = {
        "by_steps": [{"steps": 5, **near}, {"steps": 10, **near}],
        "looks": [{"at": 30.0, **near}, {"at": 60.0, **near}],
    }
    own = {"cost": cost, "training_clips_per_second": 3.5, "seconds": 60.0, **curves}
    rows = [row(f"a-{i}", 4, system="a", note="Over 128 clips.", **own) for i in range(2)]
    rows += [row(f"b-{i}", 9, system="b", **own) for i in range(2)]
    rows.append({key: value for key, value in row(REAL, 0.5).items() if key not in ("parameters", "clips")})
    written(tmp_path, rows, plan="systems")
    table = report(tmp_path)
    assert table.splitlines()[-1].startswith("Told apart are")
    assert "quality, the best first: a" in table
    assert "Over 128 clips." in table
    assert "2 MB" in table
    lines = list(csv.DictReader(io.StringIO(table_csv(tmp_path))))
    assert [line["name"] for line in lines] == ["a-0", "a-1", "b-0", "b-1", REAL]
    assert lines[0]["peak_bytes"] == "2000000"
    assert lines[-1]["gflops"] == ""
    plot(tmp_path, tmp_path / "plot.png")
    frames = torch.randint(0, 255, (2, 3, 8, 8, 3), dtype=torch.uint8)
    for name in ("a-0", "b-0"):
        (tmp_path / name).mkdir()
        save_file({"clips": frames}, tmp_path / name / SHOWN, metadata={"captions": '["one", "two"]'})
    assert [path.name for path in pictures(tmp_path)] == ["clips-0.png", "clips-1.png"]


def test_costs_alone_make_a_plot(tmp_path):
    pytest.importorskip("matplotlib")
    cost = {"gflops": 12.0, "sampling_seconds": 0.5, "peak_bytes": None}
    written(tmp_path, [{"name": "vdm", "system": "vdm", "parameters": 5, "cost": cost}], plan="videofusion-table-4")
    assert "GFLOP a call" in report(tmp_path)
    plot(tmp_path, tmp_path / "plot.png")
