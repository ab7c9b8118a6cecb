"""Boards that show a run's curves and sample grids: TensorBoard, Weights & Biases."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from videofusion.errors import InputError, require

_PROJECT = "videofusion"


class Board(Protocol):
    """Something that shows numbers and pictures over steps."""

    def numbers(self, event: str, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, sheet: Any) -> None: ...

    def close(self) -> None: ...


def check_boards(names: Sequence[str]) -> None:
    """Raise InputError if Weights & Biases is asked for and not installed; without TensorBoard a run goes on."""
    if "wandb" in names:
        require("wandb", extra="wandb")


class TensorBoard:
    """Curves under `run`/tensorboard.

    Args:
        run: the run folder.
        start: the step that this session goes on from; what a killed one wrote after it is hidden.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, run: Path, start: int) -> None:
        require("tensorboard", extra="train")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def numbers(self, event: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{event}/{name}", value, step)

    def picture(self, step: int, sheet: Any) -> None:
        self._writer.add_image("samples", sheet, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project "videofusion" at Weights & Biases, the same for every session of a run folder.

    It is told numbers, sample grids and the recipe; not what is printed, nor anything of the code and its repository.
    Its own environment variables hold: WANDB_MODE=offline keeps all of it in `run`/wandb, for `wandb sync`.

    Args:
        run: the run folder.
        recipe: as plain values.

    Raises:
        InputError: it is not installed, or does not start (nobody is logged in, ...).
    """

    def __init__(self, run: Path, recipe: Mapping[str, Any]) -> None:
        self._wandb: Any = require("wandb", extra="wandb")
        folder = run / "wandb"
        folder.mkdir(exist_ok=True)
        name = folder / "videofusion-id"
        if not name.exists():
            name.write_text(secrets.token_hex(8), encoding="utf-8")
        quiet = self._wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True)
        try:
            self._run = self._wandb.init(
                project=_PROJECT,
                dir=str(run),
                id=name.read_text(encoding="utf-8"),
                name=run.resolve().name,
                config=dict(recipe),
                allow_val_change=True,  # a later session may be given more steps
                resume="allow",
                settings=quiet,
            )
        except self._wandb.errors.Error as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"Weights & Biases does not start: {first}; WANDB_MODE=offline keeps its curves in {folder}"
            ) from error
        # steps of ours, since its own may not go back, as they do when a killed run goes on from its checkpoint
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def numbers(self, event: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{event}/{name}": value for name, value in values.items()}})

    def picture(self, step: int, sheet: Any) -> None:
        self._run.log({"step": step, "samples": self._wandb.Image(sheet)})

    def close(self) -> None:
        self._run.finish(exit_code=int(sys.exc_info()[0] is not None))  # closed on the way out of a crash, or not
