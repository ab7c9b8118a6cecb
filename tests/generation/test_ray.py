"""Rows on a local cluster of two workers: the same clips as without Ray, also when an actor is killed."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from videofusion.errors import InputError
from videofusion.generation import ray_prompts as ray_engine
from videofusion.generation.maker import Form
from videofusion.generation.many import Summary, generate_many
from videofusion.generation.ray_prompts import DIED, run_ray
from videofusion.generation.rows import Row
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.build import build_system

DEADLY = """
import os, signal
from pathlib import Path
from videofusion.generation import ray_prompts as ray_engine

class Deadly(ray_engine._Worker):
    def __call__(self, item):
        once = Path(os.environ["DEADLY_ONCE"])
        if '"deadly"' in item["rows"] or ('"kill once"' in item["rows"] and not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)  # the actor, as a machine that fails
        return super().__call__(item)
"""


@contextmanager
def cluster(ray: Any, **variables: str) -> Iterator[None]:
    """Two workers that import what this process can, with one thread each as this process has."""
    paths = ":".join(path for path in sys.path if path)
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(torch.get_num_threads()), **variables}},
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    from videofusion.digits.moving_digits import MovingDigits

    torch.manual_seed(0)
    recipe = get_recipe("tiny", {"network.channels": "16,16", "system.residual_channels": "16,16", "text.size": "16"})
    build_system(recipe, MovingDigits(4, 16, "train", 0.0)).pipeline().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def made(model: Path, out: Path, rows: list[dict[str, Any]], **how: Any) -> Summary:
    prompts = out.with_suffix(".jsonl")
    prompts.write_text("".join(json.dumps({"steps": 2, **row}) + "\n" for row in rows))
    return generate_many(prompts, out, model=str(model), batch=2, form=Form(ending=".webp"), bar=False, **how)


def record(out: Path) -> list[dict[str, Any]]:
    """The lines, in the order of the rows, without what differs from run to run."""
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return sorted(
        ({key: value for key, value in line.items() if key not in ("seconds", "time")} for line in lines),
        key=lambda x: x["row"],
    )


def test_engines_that_there_are_not(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": "a red three"}]
    for how, sentence in (
        ({"engine": "spark"}, 'engine is "spark"; it must be one of here, ray'),
        ({"workers": 2}, 'workers is 2, but is for the engine "ray" only'),
    ):
        with pytest.raises(InputError, match=sentence):
            made(model, tmp_path / "out", rows, **how)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"videofusion\[ray\]"):
        made(model, tmp_path / "out", rows, engine="ray")
    assert not (tmp_path / "out").exists()


def test_of_a_batch_that_ends_its_actor_every_time_the_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [[Row(n, f"{n:06d}", {"prompt": f"row {n}"})] for n in range(1, 4)]

    def some(worker: type, arguments: Any, items: list[dict[str, Any]], **how: Any) -> Iterator[dict[str, Any]]:
        for item in (items[2], items[0]):
            yield {"number": item["number"], "lines": json.dumps([{"made": json.loads(item["rows"])[0]["number"]}])}

    monkeypatch.setattr(ray_engine, "on_actors", some)
    lines = list(run_ray("m", "w", Path("out"), Form(), {"device": None}, batches, 2))
    assert lines[:2] == [[{"made": 3}], [{"made": 1}]]
    ((last,),) = lines[2:]
    assert (last["row"], last["state"], last["reason"], last["prompt"]) == (2, "failed", DIED, "row 2")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_clips_are_the_same_when_actors_are_killed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    pytest.importorskip("pandas")
    rows: list[dict[str, Any]] = [{"prompt": "a red three", "seed": seed, "id": f"row-{seed}"} for seed in range(7)]
    rows += [{"prompt": "a blue seven", "id": "kill once", "steps": 3}, {"prompt": "a red three", "frames": 0}]
    rows[-2]["id"] = "kill-once"
    here = made(model, tmp_path / "here", rows)
    assert (here.made, list(here.failed)) == (8, ["000009"])

    (tmp_path / "deadly_generation.py").write_text(DEADLY.replace("kill once", "kill-once"))
    monkeypatch.syspath_prepend(tmp_path)
    deadly = importlib.import_module("deadly_generation").Deadly
    monkeypatch.setattr(ray_engine, "_Worker", deadly)
    with cluster(ray, DEADLY_ONCE=str(tmp_path / "once")):
        there = made(model, tmp_path / "ray", rows, engine="ray", workers=2)
        assert (tmp_path / "once").exists()  # an actor was killed, and its rows were made by another
        assert there == here
        assert record(tmp_path / "ray") == record(tmp_path / "here")
        names = sorted(file.name for file in (tmp_path / "here").glob("*.webp"))
        assert len(names) == 8
        for name in names:
            assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()

        (tmp_path / "ray" / names[0]).unlink()  # goes on: this one is made anew, those that are there are not
        more = [*rows[:-1], {"prompt": "a red three", "id": "deadly", "steps": 1}]
        again = made(model, tmp_path / "ray", more, engine="ray", workers=2)
    assert (again.made, again.before, again.failed) == (1, 7, {"deadly": DIED})
    sys.modules.pop("deadly_generation")
