"""The log of a run: a line of JSON per event, the recipe's boards, a progress bar."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videofusion.errors import InputError, printable
from videofusion.recipes.recipe import Recipe
from videofusion.training.boards import Board, TensorBoard, WeightsAndBiases

_BLOCK = 1 << 16  # bytes that are looked through at a time, from the end of a log
_BEAT = 10.0  # seconds between signs of life (the log's time of change) where there is nothing to log


class Log:
    """The log of a run: `log.jsonl` always, the recipe's boards, notes on stderr.

    Args:
        run: the run folder.
        recipe: its `steps` end the progress bar, its `log` names the boards.
        start: the step that this session starts from.
        bar: show a progress bar.

    Raises:
        InputError: Weights & Biases is asked for and does not start.
    """

    def __init__(self, run: Path, recipe: Recipe, start: int, bar: bool) -> None:
        self._boards: list[Board] = []
        if "wandb" in recipe.log.boards:
            self._boards.append(WeightsAndBiases(run, recipe.to_json()))
        self._path = run / "log.jsonl"
        _cut_off(self._path)
        self._file = self._path.open("a", encoding="utf-8")
        self._beat = time.monotonic()
        pause = 0.1 if sys.stderr.isatty() else 30  # seconds between redrawings, which are lines in a file
        self._bar = tqdm(
            total=recipe.budget.steps,
            initial=start,
            unit="step",
            disable=not bar,
            dynamic_ncols=True,
            mininterval=pause,
        )
        self._left_out: set[str] = set()
        if "tensorboard" in recipe.log.boards:
            try:
                self._boards.append(TensorBoard(run, start))
            except InputError as error:  # the recipes ask for it, so nobody may have
                self.note(f"no TensorBoard curves: {error}; log.jsonl has the same numbers")

    def note(self, text: str) -> None:
        """Print a line on stderr, above the progress bar, and keep it in the log."""
        with contextlib.suppress(OSError):  # a terminal that was closed
            tqdm.write(printable(text), file=sys.stderr)
        self._write({"event": "note", "text": text})

    def numbers(self, event: str, step: int, values: dict[str, float]) -> None:
        """Record values of a step."""
        self._write({"event": event, "step": step, **values})
        for board in self._boards:
            board.numbers(event, step, values)

    def picture(self, step: int, path: Path, sheet: Any) -> None:
        """Record a contact sheet (uint8 `h w 3`) that was written to `path`."""
        self._write({"event": "samples", "step": step, "path": path.name})
        for board in self._boards:
            board.picture(step, sheet)

    def left_out(self, report: Mapping[str, str]) -> None:
        """Record the clips that could not be used, each once: reason by name."""
        for name in report.keys() - self._left_out:
            self._write({"event": "left out", "clip": name, "reason": report[name]})
        self._left_out |= report.keys()

    def advance(self, loss: float, rate: float, left: float, waiting: float, reading: float) -> None:
        """Move the bar by one step: loss, clips per second, seconds left, shares of waiting and reading."""
        data = f"data: {waiting:.0%} of the time waited for, {reading:.0%} of the CPU"
        text = f"loss {loss:.4f}, {rate:.1f} clips/s, {_clock(left)} left; {data}"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(1)
        if time.monotonic() - self._beat > _BEAT:
            self._beat = time.monotonic()
            os.utime(self._path)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._file.close()
        for board in self._boards:
            board.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps({**line, "time": round(time.time(), 3)}) + "\n")
        self._file.flush()


class NoLog(Log):
    """The log of a process that does not write."""

    def __init__(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def numbers(self, event: str, step: int, values: dict[str, float]) -> None:
        pass

    def picture(self, step: int, path: Path, sheet: Any) -> None:
        pass

    def left_out(self, report: Mapping[str, str]) -> None:
        pass

    def advance(self, loss: float, rate: float, left: float, waiting: float, reading: float) -> None:
        pass

    def close(self) -> None:
        pass


def _cut_off(path: Path) -> None:
    """Cut off what stands after the last whole line, which a kill left there."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        file.truncate(end)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
