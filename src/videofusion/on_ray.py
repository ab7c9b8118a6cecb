"""A pool of actors on Ray Data, shared by curation and generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from videofusion.errors import InputError, RunError, require


def check_ray(workers: int) -> None:
    """Refuse before work what Ray cannot do.

    Raises:
        InputError: Ray is not installed, or no worker is asked for.
    """
    require("ray", "ray")
    if workers < 1:
        raise InputError(f'workers is {workers}; engine "ray" takes at least 1')


def on_actors(
    worker: type,
    arguments: Sequence[object],
    items: Sequence[dict[str, Any]],
    *,
    workers: int,
    device: str | None = None,
    tries: int | None = None,
) -> Iterator[dict[str, Any]]:
    """What actors make of items, one after the other, as it is done.

    The cluster is the one that this process is connected to (`ray.init`, or the address in RAY_ADDRESS), else a local
    one. An actor that dies is started again, and the item that it had is done again. On several machines paths have to
    be the same on all.

    Args:
        worker: a class; each actor has one instance, which is called with an item and returns a row. Both are
            dictionaries of numbers and texts.
        arguments: that it is made with.
        items: the work.
        workers: actors, at most.
        device: where an instance computes; each has a GPU of its own if it is one.
        tries: how often an item may kill its actor until there is no row of it; without end when None.

    Raises:
        InputError: a device that the cluster has not.
        RunError: an actor cannot be made, or fails otherwise than by dying.
    """
    ray = require("ray", "ray")
    data = require("ray.data", "ray")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    on_gpu = str(device).startswith("cuda")
    if on_gpu and not ray.cluster_resources().get("GPU"):  # Ray would wait for one without a word
        raise InputError(f'device is "{device}", but no machine of the Ray cluster has a GPU; "cpu" needs none')
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    errors = context.max_errored_blocks
    context.max_errored_blocks = 0 if tries is None else -1
    try:
        found = data.from_items(list(items), override_num_blocks=len(items)).map(
            worker,
            fn_constructor_args=tuple(arguments),
            compute=data.ActorPoolStrategy(size=min(workers, len(items))),
            num_gpus=1 if on_gpu else None,
            max_task_retries=-1 if tries is None else tries - 1,
        )
    finally:
        context.max_errored_blocks = errors  # what is Ray Data's own has a copy
    try:
        yield from found.iter_rows()
    except ray.exceptions.RayError as error:  # it has the traceback of the actor in it; its last line says what it was
        raise RunError(f"the work on Ray failed: {str(error).strip().splitlines()[-1]}") from error
