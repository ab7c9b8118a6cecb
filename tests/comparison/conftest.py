"""Fixtures: models that are none."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "digits"))

from renderers import colour_blind, copying, perfect, perfect_over_photos  # noqa: F401
