"""`videofusion runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from videofusion.errors import printable


def runs(folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path()) -> None:
    """List the runs in a folder and below: state, step, loss, speed, last sample, and when last active.

    A run is running, finished, stopped (by a signal) or crashed. The reason is below its line, and details of a crash
    are in the run folder's crash.txt.

    Args:
        folder: where to look
    """
    from videofusion.training.run_list import find_runs, table

    found = find_runs(folder)
    print(printable(table(found, folder)) if found else f"no run folders in {folder}")
