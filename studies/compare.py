"""`videofusion compare` with the papers' plans: `python -m studies.compare DIR --plan NAME` (`list` names them)."""

import sys

import studies.plans  # noqa: F401 - makes the plans known
from videofusion.cli import run_command
from videofusion.cli.compare import compare

if __name__ == "__main__":
    sys.exit(run_command(compare, "python -m studies.compare"))
