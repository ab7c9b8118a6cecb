"""Protocols: each is whole, says where it comes from, and fits the networks that it names."""

import dataclasses
from pathlib import Path

import pytest

from videofusion.errors import InputError
from videofusion.evaluation.extractors import EXTRACTORS
from videofusion.evaluation.metric_table import chosen
from videofusion.evaluation.protocol_table import PRESETS, find_preset
from videofusion.evaluation.protocols import NOT_COMPARABLE, Metric, Preset

ASKED_FOR = (
    "tats",
    "stylegan-v",
    "cd-fvd",
    "latte",
    "vdm-ucf101",
    "vdm-bair",
    "vdm-k600",
    "videofusion-ucf101",
    "videofusion-sky",
    "videofusion-taichi",
    "magicvideo-zero-shot",
    "embedded",
    "digits",
)
METRIC = Metric(name="fvd", kind="frechet", extractor="i3d", layer="logits")


@pytest.mark.parametrize("name", ASKED_FOR)
def test_every_protocol_that_was_asked_for_is_there(name):
    assert find_preset(name).name == name


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_protocol_says_its_source_and_names_networks_that_there_are(preset):
    assert preset.source
    assert preset.metrics
    assert set(preset.extractors) <= set(EXTRACTORS)
    names = [metric.name for metric in preset.metrics]
    assert len(set(names)) == len(names)
    assert (preset.note == NOT_COMPARABLE) == (preset.name in ("embedded", "digits"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.count = 3


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_page_about_protocols_is_true(preset):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{preset.name}` |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == (", ".join(preset.extractors) or "none")
    assert cells[3].startswith("as given" if preset.split == "all" else preset.split)
    assert cells[4] == f"{preset.count:,} / {'all' if preset.real_count is None else format(preset.real_count, ',')}"
    assert cells[5] == str(preset.size)
    assert cells[6] == ("–" if preset.start == "spread" else str(preset.stride))
    assert preset.frames == 16


def test_what_sources_say():
    assert [find_preset("videofusion-taichi").stride, find_preset("latte").stride, find_preset("tats").stride] == [
        4,
        3,
        1,
    ]
    assert [metric.name for metric in find_preset("tats").metrics] == ["fvd", "kvd"]
    bair, k600 = find_preset("vdm-bair"), find_preset("vdm-k600")
    assert (bair.given, bair.count, bair.real_count) == (1, 100 * 256, 256)
    assert (k600.given, k600.count) == (5, 50_000)
    assert find_preset("vdm-ucf101").extractors == ("c3d-ucf101",)
    assert {metric.splits for metric in find_preset("vdm-text").metrics if metric.kind == "inception-score"} == {1, 10}


def test_another_count_is_another_protocol():
    assert dataclasses.replace(find_preset("tats"), count=9, real_count=9) == find_preset("tats").changed(count=9)
    assert find_preset("cd-fvd").changed(count=9).real_count is None
    assert find_preset("vdm-bair").changed(count=512).real_count == 256
    other = find_preset("paired").changed(size=64, frames=8, given=2)
    assert (other.size, other.frames, other.given, other.count) == (64, 8, 2, 256)
    with pytest.raises(InputError, match="count is 1"):
        find_preset("tats").changed(count=1)


def test_some_of_the_metrics():
    preset = find_preset("tats")
    assert [metric.name for metric in chosen(preset, ("kvd", "flicker", "kvd"))] == ["kvd", "flicker"]
    assert chosen(preset, ()) == preset.metrics
    with pytest.raises(
        InputError, match='"is", but the protocol tats measures fvd, kvd; it may also be one of clip-sim'
    ):
        chosen(preset, ("is",))


def test_an_unknown_name_is_answered_with_the_list():
    with pytest.raises(InputError, match=r'protocol is "fvd"; it must be one of tats, .*embedded'):
        find_preset("fvd")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start": "middle"}, 'start is "middle"'),
        ({"resize": "nearest"}, 'resize is "nearest"'),
        ({"split": "dev"}, 'split is "dev"'),
        ({"stride": 0}, "stride 0"),
        ({"real_count": 0}, "real_count 0"),
        ({"given": 16}, "given is 16; it must be 0 to 15, of 16 frames"),
        ({"paired": True}, 'paired clips start at the first frame .* start is "video"'),
        ({"paired": True, "start": "first", "count": 9}, "count 9 and real_count 2048"),
    ],
)
def test_what_is_no_protocol(change, sentence):
    with pytest.raises(InputError, match=sentence):
        Preset(name="mine", source="here", metrics=(METRIC,), **change)


def test_what_is_no_metric():
    with pytest.raises(InputError, match='kind is "fvd"'):
        dataclasses.replace(METRIC, kind="fvd")
    with pytest.raises(InputError, match="for frechet and kernel only"):
        dataclasses.replace(METRIC, kind="inception-score", frames="all")
