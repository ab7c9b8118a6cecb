"""Averages gradients over the processes of a run, and clips them.

torch's DistributedDataParallel wraps one module with one forward. A system here is several networks and a loss that
calls them as it likes, one of them not through its forward; so each process's gradients are put end to end and summed
after the last micro-batch, which is less talk than one sum for each, and nothing is hidden in hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from videofusion.training.sharding import whole
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


def clip_gradients(groups: Sequence[Sequence[nn.Parameter]], most: float) -> Tensor:
    """Scale gradients so that the norm of all of them is no more than `most`; all processes must call.

    As torch's `clip_grad_norm_`, but shards may lie on several devices: only the norms of the groups meet.

    Args:
        groups: of parameters, each group on one device.
        most: the largest norm.

    Returns:
        The norm as it was, a number, of the whole gradients.
    """
    gradients = [[parameter.grad for parameter in group if parameter.grad is not None] for group in groups]
    norms = [whole(nn.utils.get_total_norm(group)) for group in gradients]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack([each.cpu() for each in norms]))
    for group in groups:
        nn.utils.clip_grads_with_norm_(group, most, norm)
    return norm


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
