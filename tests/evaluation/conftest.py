"""Makes `tiny` importable, systems that are tested in milliseconds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "systems"))
