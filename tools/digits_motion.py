"""Measures content and motion of a model of moving digits apart: `python -m tools.digits_motion`."""

import sys

from tools.reports import digits_motion
from videofusion.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command(digits_motion, "python -m tools.digits_motion"))
