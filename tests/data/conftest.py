"""Fixtures: videos whose frames say which one they are; makes `damage` and `full_decode` importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "video"))

from videos import video, which  # noqa: F401
