"""Judges a model on moving digits: `python -m tools.digits_report`."""

import sys

from tools.reports import digits_report
from videofusion.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command(digits_report, "python -m tools.digits_report"))
