"""Fixtures: videos whose frames say which one they are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from videos import video, which  # noqa: F401
