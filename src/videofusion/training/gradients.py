"""Gradients averaged over the processes of a run.

torch's DistributedDataParallel wraps one module with one forward. A system here is several networks and a loss that
calls them as it likes, one of them not through its forward; so each process's gradients are put end to end and summed
after the last micro-batch, which is less talk than one sum for each, and nothing is hidden in hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import nn

from videofusion.training.world import World

BUCKET = 1 << 25  # numbers that are sent at once: 128 MB of float32, which is also the most that is copied


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], world: World) -> None:
    """Put the mean over all processes in the place of every parameter's gradient.

    A parameter that had no part in the loss of any process keeps no gradient, so that the optimiser passes it over; one
    that had none here only counts as 0.

    Args:
        parameters: the same in every process, in the same order.
        world: the processes.
    """
    if world.size == 1:
        return
    for bucket in _buckets(parameters):
        flat = torch.cat(
            [
                *(torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in bucket),
                torch.tensor([p.grad is not None for p in bucket], dtype=bucket[0].dtype, device=bucket[0].device),
            ]
        )
        dist.all_reduce(flat)
        *means, had = flat.split([*(p.numel() for p in bucket), len(bucket)])
        for parameter, mean, any_had in zip(bucket, means, had.tolist(), strict=True):
            if not any_had:
                continue
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            parameter.grad.copy_(mean.view(parameter.shape)).div_(world.size)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    count = 0
    for parameter in parameters:
        if bucket and count + parameter.numel() > BUCKET:
            yield bucket
            bucket, count = [], 0
        bucket.append(parameter)
        count += parameter.numel()
    if bucket:
        yield bucket
