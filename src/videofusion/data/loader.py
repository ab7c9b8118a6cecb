"""Batches by number: what batch n holds depends on the seed and n, and on nothing else.

Not on where a run was resumed, nor on how many workers read. A broken clip is replaced by
another of the same epoch, by a rule, and named in the report.
"""

from __future__ import annotations

import itertools
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from videofusion.data.batch import BadClip, Batch, Dataset, Sample
from videofusion.data.counter import keys, uniforms
from videofusion.data.items import reasons
from videofusion.errors import InputError, RunError
from videofusion.keys import Stream

_log = logging.getLogger(__name__)

# Batches that a worker makes ahead.
_AHEAD = 2
# Seconds within which the signal that a process ended arrives.
_SIGNAL = 1.0
# Seconds that a worker lives on after a SIGTERM or SIGHUP, which a scheduler sends to all processes of a
# job: the run needs its batches for the step that it is in, before it writes its checkpoint.
_GRACE = 30


class Loader:
    """The training batches of a run, without end, by number.

    The draws of a run are numbered; batch n of process `rank` holds the draws from
    (n · world + rank) · batch_size on. Each epoch goes through all clips in an order of its own,
    and a batch may hold the end of one epoch and the begin of the next. `Batch.ids` are the
    numbers of the draws, so that a clip that is drawn twice gets other noise the second time.

    Args:
        dataset: clips by number.
        batch_size: clips per batch and process.
        seed: of the run.
        workers: processes that read ahead; 0 reads when asked.
        rank: number of this process among `world`.
        world: how many processes share the draws.

    Attributes:
        report: reason by name, for the clips that could not be used up to now.
        waited: seconds that those who asked for batches waited for them, up to now.
        busy: CPU seconds that reading those batches took, in this process or in its workers.

    Raises:
        InputError: a value outside of what is said above, or a dataset without clips.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int = 0, workers: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be a whole number of at least 1")
        if workers < 0:
            raise InputError(f"workers is {workers}; it must be a whole number of at least 0")
        if not 0 <= rank < world:
            raise InputError(f"rank is {rank} of {world}; it must be 0 to {world - 1}")
        self.report: dict[str, str] = {}
        self.waited = self.busy = 0.0
        self._note(dict(getattr(dataset, "problems", {})))
        if len(dataset) == 0:
            raise InputError(f"the data contain no usable clip{reasons(self.report)}")
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.rank, self.world = rank, world
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, number: int) -> Batch:
        """Batch `number`, read in this process.

        Raises:
            InputError: no clip of the dataset can be read.
        """
        return self._taken(self._read(number))

    def starting(self, number: int) -> Iterator[Batch]:
        """Batches `number`, `number` + 1, ... without end.

        Raises:
            InputError: no clip of the dataset can be read.
            RunError: a worker process died.
        """
        batches = map(self._read, itertools.count(number)) if self.workers == 0 else self._ahead(number)
        while True:
            begin = time.perf_counter()
            read = next(batches)
            self.waited += time.perf_counter() - begin
            yield self._taken(read)

    def __iter__(self) -> Iterator[Batch]:
        return self.starting(0)

    def _ahead(self, number: int) -> Iterator[_Read]:
        """Batches from `number` on, by worker processes."""
        ahead: DataLoader[_Read] = DataLoader(
            _Numbered(self),
            batch_size=None,
            sampler=_Count(number),
            num_workers=self.workers,
            prefetch_factor=_AHEAD,
            worker_init_fn=_begin_worker,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it draws from the global one, whose state belongs to the run
        )
        batches = iter(ahead)
        while True:
            try:
                read = next(batches)
            except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
                if isinstance(error, RunError):  # a worker's own, with its traceback as text
                    raise RunError(str(error).strip().splitlines()[-1].partition(": ")[2]) from error
                # torch notices a dead worker itself, or stumbles over the batch that it was sending.
                if isinstance(error, RuntimeError) and not _is_of_worker(error):
                    raise
                if not isinstance(error, RuntimeError):
                    with suppress(RuntimeError):  # torch says it too, by a signal that may come at any moment yet
                        time.sleep(_SIGNAL)
                raise _ended(error) from error
            yield read

    def _taken(self, read: _Read) -> Batch:
        self._note(read.bad)
        self.busy += read.busy
        return read.batch

    def _read(self, number: int) -> _Read:
        begin = time.process_time()
        size = len(self.dataset)
        first = (number * self.world + self.rank) * self.batch_size
        draws = range(first, first + self.batch_size)
        parts: list[Batch] = []
        bad: dict[str, str] = {}
        for epoch, group in itertools.groupby(draws, key=lambda draw: draw // size):
            order = self._permutation(epoch)
            places = [draw % size for draw in group]
            together = getattr(self.dataset, "batch", None)
            if together is not None:
                parts.append(together([int(order[place]) for place in places], epoch, self.seed))
            else:
                samples = [self._usable(order, place, epoch, bad) for place in places]
                parts.append(Batch.of(samples, places))
        batch = replace(_joined(parts), ids=torch.tensor(draws, dtype=torch.int64))
        return _Read(batch, bad, time.process_time() - begin)

    def _usable(self, order: NDArray[np.int64], place: int, epoch: int, bad: dict[str, str]) -> Sample:
        """The clip at a place of the epoch, or else the next that can be read, from half an epoch on."""
        # Not the neighbour, which is in the same batch most of the time.
        size = len(order)
        others = ((place + size // 2 + step) % size for step in range(size))
        for candidate in itertools.chain([place], others):
            try:
                return self.dataset.sample(int(order[candidate]), epoch, self.seed)
            except BadClip as error:
                bad[error.name] = error.reason
        raise InputError(f"none of the {size} clips can be read{reasons(bad)}")

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            own = getattr(self.dataset, "order", None)  # of clips that are not all at hand
            order = None if own is None else own(epoch, self.seed)
            if order is None:
                labels = keys(self.seed, epoch, np.arange(len(self.dataset)), Stream.CLIP_ORDER)
                ranks = uniforms(labels, 1)[:, 0]
                order = np.argsort(ranks, kind="stable")
            self._order = epoch, order
        return self._order[1]

    def _note(self, bad: dict[str, str]) -> None:
        for name, reason in bad.items():
            if name not in self.report:
                self.report[name] = reason
                _log.warning("%s is left out: %s", name, reason)


@contextmanager
def workers_watched() -> Iterator[None]:
    """Within the block the end of a worker is a RunError wherever it is noticed: torch tells it by a signal, any time.

    Raises:
        RunError: a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError) or not _is_of_worker(error):
            raise
        raise _ended(error) from error


def _is_of_worker(error: RuntimeError) -> bool:
    said = str(error)  # an error of the worker's own begins with "Caught", and is none of these
    return said.startswith("DataLoader worker") or "items of ancdata" in said


def _ended(error: Exception) -> RunError:
    return RunError(f"a process that reads clips was killed (out of memory?): {error}")


class _Read(NamedTuple):
    """A batch, the replaced clips with their reasons, and the CPU seconds that it took."""

    batch: Batch
    bad: dict[str, str]
    busy: float


class _Numbered(TorchDataset[_Read]):
    """What a worker process holds: batches by number."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getitem__(self, number: int) -> _Read:
        return self.loader._read(number)


class _Count:
    """The numbers from `start` on, as a sampler."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(number: int) -> None:
    """Leave an interruption to the main process, and give it time to end in order."""

    def late(signum: int, frame: FrameType | None) -> None:
        signal.alarm(_GRACE)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # not on Windows
        signal.signal(signal.SIGTERM, late)
        signal.signal(signal.SIGHUP, late)  # of a terminal that is closed
    torch.set_num_threads(1)


def _joined(parts: Sequence[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    texts = [part.text for part in parts if part.text is not None]
    return Batch(
        torch.cat([part.clip for part in parts]),
        [caption for part in parts for caption in part.captions],
        [name for part in parts for name in part.names],
        torch.cat([part.ids for part in parts]),
        [identity for part in parts for identity in part.identities],
        [action for part in parts for action in part.actions],
        [label for part in parts for label in part.labels],
        None
        if any(part.fps is None for part in parts)
        else torch.cat([part.fps for part in parts if part.fps is not None]),
        encoded=parts[0].encoded,
        text=(torch.cat([each for each, _ in texts]), torch.cat([mask for _, mask in texts])) if texts else None,
    )
