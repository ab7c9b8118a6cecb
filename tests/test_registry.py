"""Systems of other packages: found by an entry point, trained, saved, loaded and sampled without touching this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from videofusion.errors import InputError
from videofusion.registry import BUILT_IN, find_pipeline, get_system, register_system, system_names
from videofusion.systems.vdm import VDMPipeline, VDMSystem

OUTSIDE = Path(__file__).parent / "outside"
ENTRY_POINTS = """[videofusion.systems]
flicker = flicker:Flicker
broken = no_such_module:Broken
"""
CODE = """
import sys, warnings
from pathlib import Path
import torch
import videofusion as vf
from videofusion.recipes.catalogue import get_recipe
from videofusion.training.trainer import train

run = Path(sys.argv[1])
changes = {"system": "flicker", "network.channels": "16,16", "clips.size": "8", "text.size": "16"}
ends = {"budget.steps": "2", "log.sample_interval": "0", "log.boards": "", "log.validation_interval": "2"}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    train(get_recipe("tiny", {**changes, **ends, "checkpoints.interval": "2"}), run, device="cpu", bar=False)
    pipe = vf.load(run)
from diffusers import DiffusionPipeline

theirs = DiffusionPipeline.from_pretrained(run / "model", low_cpu_mem_usage=False)
assert type(pipe) is type(theirs) and type(pipe).__module__ == "flicker", (type(pipe), type(theirs))
clips = [vf.generate(each, "a red three", seed=1, steps=1, loudness=0.5) for each in (pipe, theirs)]
torch.testing.assert_close(*clips, atol=1e-4, rtol=0)
assert not torch.equal(clips[0], pipe("a red three", seed=1, steps=1, loudness=-0.5))
try:
    get_recipe("tiny", {"system": "broken"})
except vf.InputError as error:
    print(error)
lines = [str(each.message) for each in told if "broken" in str(each.message)]
print(len(lines), *lines)
"""


def test_a_package_brings_a_system_by_an_entry_point_and_one_that_fails_costs_a_line(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    (packages / "flicker-1.0.dist-info").mkdir(parents=True)
    (packages / "flicker.py").write_text((OUTSIDE / "flicker.py").read_text())
    (packages / "flicker-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: flicker\nVersion: 1.0\n")
    (packages / "flicker-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = os.pathsep.join([str(packages), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": ""},
    )
    assert ran.returncode == 0, ran.stderr
    refused, told = ran.stdout.strip().splitlines()[-2:]
    assert refused.startswith("system 'broken' of no_such_module:Broken (flicker) cannot be used")
    assert told.startswith("1 system 'broken' of no_such_module:Broken (flicker) cannot be imported: ModuleNotFound")


def test_the_package_s_own_are_there() -> None:
    assert system_names()[: len(BUILT_IN)] == [*BUILT_IN]
    assert get_system("vdm") is VDMSystem
    assert find_pipeline("VDMPipeline") is VDMPipeline
    assert find_pipeline("EvilPipeline") is None
    with pytest.raises(InputError, match='system "vdn" is unknown'):
        get_system("vdn")


def test_what_is_no_system_is_not_registered() -> None:
    with pytest.raises(InputError, match="'vdm' is one of the package's own"):
        register_system("vdm", VDMSystem)
    with pytest.raises(InputError, match="system 'number' is <class 'int'>, which lacks Config, Pipeline, build"):
        register_system("number", int)
    with pytest.raises(InputError, match="system 'other' has a Config of the name 'vdm'"):
        register_system("other", VDMSystem)
