"""The oldest versions that pyproject.toml allows load what ships, and open no door."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
ROOT = Path(__file__).parents[1]
TESTS = (
    "test_models.py",
    "test_parts.py",
    "test_trusted.py",
    "interop",
    "data/test_strangers.py",
    "clip/test_encode.py",
)


def floors() -> list[str]:
    """Each requirement of the package and of the extras that read models and train, at its lowest version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["clip"], *extras["lora"]]
    asked += [each for each in extras["dev"] if each.startswith(("pytest>", "beartype>"))]
    found = [re.sub(r">=([0-9.]+).*", r"==\1", each) for each in asked]
    # Of torch the lowest builds for a CPU alone are not everywhere to be had: the one that is installed here.
    import torch

    return [f"torch=={torch.__version__}" if each.startswith("torch==") else each for each in found]


def test_every_requirement_has_a_floor() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+(\+\w+)?", each) for each in floors())


@pytest.mark.slow
def test_the_lowest_versions_work(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *floors()], check=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    # Without `-W default` a warning of an old library is an error.
    words = [python, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider"]
    words += [str(ROOT / "tests" / name) for name in TESTS]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
