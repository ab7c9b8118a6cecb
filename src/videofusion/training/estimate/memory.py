"""Memory of a training run: what stays from step to step by arithmetic, what a step adds by looking on.

    peak = weights + moving average + optimiser state + batches + the most that a phase holds beside them + slack

A phase is a step, a validation, a sample grid or the writing of a checkpoint. Beside what stays, a step holds the
activations that are saved for the backward pass, the gradients, which grow while those shrink, and what is in the
making. `Watch` counts tensors: it works on tensors of the meta device too, where nothing is computed. A process on a
CPU takes more pages than its tensors fill, for the holes between them and for the libraries' own work; `Pages` tells
by how much, which is the slack. Tensors of 32 MB and more leave no holes (glibc), so that large runs have little.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from videofusion.training.optimizers import moment_bytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """Numbers of a part of a system.

    Args:
        name: of the part.
        trained: parameters that are trained.
        frozen: parameters that are not.
        apart: no recipe trains it: it has no average, and is in no checkpoint.
    """

    name: str
    trained: int
    frozen: int
    apart: bool = False


def count_parts(modules: Mapping[str, nn.Module], frozen: Mapping[str, nn.Module] | None = None) -> list[Part]:
    """How many parameters of each module are trained (ask for gradients) and how many are not.

    Args:
        modules: of a system by name.
        frozen: its parts that no recipe trains.
    """

    def count(module: nn.Module, trained: bool) -> int:
        return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad is trained)

    parts = [Part(name=name, trained=count(part, True), frozen=count(part, False)) for name, part in modules.items()]
    return parts + [
        Part(name=name, trained=0, frozen=count(part, False), apart=True) for name, part in (frozen or {}).items()
    ]


def parts_table(parts: Sequence[Part]) -> list[str]:
    """Numbers of parts for a report, a line each below a heading."""
    width = max(12, *(len(part.name) for part in parts))
    return [f"{'parameters':<{width}}  {'trained':>14}  {'frozen':>14}"] + [
        f"{part.name:<{width}}  {part.trained:>14,}  {part.frozen:>14,}" for part in parts
    ]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Bytes of what weights bring with them.

    Args:
        weights: parameters and buffers.
        average: their moving average.
        gradients: of what is trained.
        moments: the optimiser's state.
    """

    weights: int
    average: int
    gradients: int
    moments: int

    @property
    def resident(self) -> int:
        """What stays from step to step."""
        return self.weights + self.average + self.moments

    def rows(self) -> list[tuple[str, int, str]]:
        """What stays, for a report: name, bytes, note."""
        return [
            ("weights", self.weights, "stay all the time"),
            ("moving average", self.average, "stays all the time"),
            ("optimiser state", self.moments, "stays all the time"),
        ]

    @classmethod
    def by_numbers(
        cls,
        trained: int,
        frozen: int = 0,
        *,
        averaged: int | None = None,
        ranks: int = 1,
        eight_bit: bool = False,
    ) -> Held:
        """From numbers of parameters alone.

        Args:
            trained: parameters that are trained.
            frozen: parameters that are not.
            averaged: parameters with a moving average; all when None.
            ranks: processes that share it all evenly, as FSDP2's `fully_shard` does; 1 where each has all (DDP).
            eight_bit: whether the optimiser keeps its moments in 8 bits.
        """

        def share(count: int) -> int:
            return -(-4 * count // ranks)

        average = share(trained + frozen if averaged is None else averaged)
        moments = -(-moment_bytes([trained], eight_bit) // ranks)
        return cls(weights=share(trained + frozen), average=average, gradients=share(trained), moments=moments)

    @classmethod
    def by_tensors(
        cls, weights: Iterable[Tensor], average: Iterable[Tensor], trained: Iterable[Tensor], eight_bit: bool = False
    ) -> Held:
        """From the tensors themselves; what is shared counts once."""
        trained = list(trained)
        steps = 0 if eight_bit else 4 * len(trained)  # AdamW counts the steps of each tensor by itself
        return cls(
            weights=_bytes(weights),
            average=_bytes(average),
            gradients=sum(tensor.nbytes for tensor in trained),
            moments=moment_bytes((tensor.numel() for tensor in trained), eight_bit) + steps,
        )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a run needs on its device, in bytes.

    Args:
        held: what the weights bring with them.
        apart: of the parts that no recipe trains.
        batches: the validation's clips, where they lie in the same memory.
        activations: saved by one micro-batch for its backward pass.
        phases: the most that each phase holds beside what stays; the activations are in "step".
        slack: pages that no tensor fills.
    """

    held: Held
    apart: int = 0
    batches: int = 0
    activations: int = 0
    phases: Mapping[str, int] = field(default_factory=dict)
    slack: int = 0

    @property
    def resident(self) -> int:
        """What is there all the time."""
        return self.held.resident + self.apart + self.batches

    @property
    def peak(self) -> int:
        """The most that there is at any time."""
        return self.resident + max(self.phases.values(), default=0) + self.slack


class Watch(TorchDispatchMode):
    """Within the block: bytes of the tensors that are made there and still alive, and the most there were.

    What a single operation needs within itself is not seen (a convolution's scratch space).

    Attributes:
        live: bytes now.
        saved: bytes that the autograd graph keeps for the backward pass and that were made within the block, summed
            over all that ran in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live, self.saved, self._most = 0, 0, 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._graph: dict[int, weakref.ref[Any]] = {}
        self._hooks = saved_tensors_hooks(self._save, lambda tensor: tensor)

    def __enter__(self) -> Watch:
        self._hooks.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hooks.__exit__(*error)

    def take_peak(self) -> int:
        """The most bytes since the last call, or since the block began."""
        most, self._most = self._most, self.live
        return most

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in given:
                self._made(leaf)
        return out

    def _made(self, tensor: Tensor) -> None:
        # a storage's Python object lives as long as the storage, so that its end tells of the storage's
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self._most = max(self._most, self.live)

    def _save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key, graph = storage._cdata, self._graph
        # weights and what else was there before are not the graph's; what is saved twice is kept once
        if key in self._known and key not in graph:
            graph[key] = weakref.ref(storage, lambda _: graph.pop(key))
            self.saved += storage.nbytes()
        return tensor


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def packed_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the copies that writing makes on a CPU: of tensors whose numbers do not lie in order (channels last)."""
    return sum(tensor.nbytes for tensor in tensors if not tensor.is_contiguous())


class Pages:
    """How far this process's memory has grown since this was made, by the system's count (Linux; else not known)."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
            self._begin: int | None = _status("VmRSS")
        except (OSError, KeyError):
            self._begin = None

    def most(self) -> int | None:
        """The most bytes beyond those at the beginning, at any time since."""
        return None if self._begin is None else _status("VmHWM") - self._begin


def _status(key: str) -> int:
    return _kilobytes(Path("/proc/self/status"), key)


def _kilobytes(file: Path, key: str) -> int:
    fields = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines())
    return 1024 * int(fields[key].split()[0])


def available(device: torch.device) -> int | None:
    """Bytes of the device that are free, or None where the system does not say so."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    except (OSError, KeyError):  # not Linux
        return None


def human(count: float) -> str:
    """Bytes as people read them, as in "1.5 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB" if count < 1000 else f"{count:,.0f} GB"
