"""What all tests share: where real clips are, and one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips beside the repository; a test that wants it skips without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("VIDEOFUSION_SHARED", beside))
    if not path.is_dir():
        pytest.skip("the real clips of ../shared/data are not here (VIDEOFUSION_SHARED names them)")
    return path
