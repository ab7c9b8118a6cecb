"""Makes `toy` importable, for the tests and for the processes that they start and kill."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
