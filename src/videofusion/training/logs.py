"""What a run tells: a line of json per event, TensorBoard where it is installed, a progress bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videofusion.errors import InputError, require


class Log:
    """The log of a run: `log.jsonl` always, TensorBoard under `tensorboard/` if installed, notes on stderr.

    Args:
        run: the run folder.
        steps: the step that the progress bar ends at.
        start: the step that this session starts from.
        bar: show a progress bar.
    """

    def __init__(self, run: Path, steps: int, start: int, bar: bool) -> None:
        self._file = (run / "log.jsonl").open("a", encoding="utf-8")
        pause = 0.1 if sys.stderr.isatty() else 30  # seconds between redrawings, which are lines in a file
        self._bar = tqdm(
            total=steps, initial=start, unit="step", disable=not bar, dynamic_ncols=True, mininterval=pause
        )
        self._left_out: set[str] = set()
        self._board = None
        try:
            require("tensorboard", extra="train")
        except InputError as error:
            self.note(f"no TensorBoard curves: {error}; log.jsonl has the same numbers")
        else:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step hides what a killed session wrote after the checkpoint we go on from
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def note(self, text: str) -> None:
        """Print a line on stderr, above the progress bar, and keep it in the log."""
        tqdm.write(text, file=sys.stderr)
        self._write({"event": "note", "text": text})

    def numbers(self, event: str, step: int, values: dict[str, float]) -> None:
        """Record values of a step."""
        self._write({"event": event, "step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{event}/{name}", value, step)

    def picture(self, step: int, path: Path, sheet: Any) -> None:
        """Record a contact sheet (uint8 `h w 3`) that was written to `path`."""
        self._write({"event": "samples", "step": step, "path": path.name})
        if self._board is not None:
            self._board.add_image("samples", sheet, step, dataformats="HWC")

    def left_out(self, report: Mapping[str, str]) -> None:
        """Record the clips that could not be used, each once: reason by name."""
        for name in report.keys() - self._left_out:
            self._write({"event": "left out", "clip": name, "reason": report[name]})
        self._left_out |= report.keys()

    def advance(self, loss: float, rate: float, left: float) -> None:
        """Move the bar by one step: loss, clips per second, seconds left."""
        text = f"loss {loss:.4f}, {rate:.1f} clips/s, {_clock(left)} left"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(1)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps({**line, "time": round(time.time(), 3)}) + "\n")
        self._file.flush()


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
