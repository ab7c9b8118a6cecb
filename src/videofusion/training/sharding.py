"""A system's networks cut into shards, of which each process holds one (torch's FSDP2, `fully_shard`).

Weights, gradients, optimiser state and moving average are then held once over all processes. Each residual block and
attention of a U-Net is gathered when it is its turn and let go after it; base and residual generator are cut apart from
each other, so that neither is held while the other computes. Gradients come out of it averaged.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.recipes.recipe import Recipe
from videofusion.training.checkpoint_shards import check_storage
from videofusion.training.world import World

Kind = TypeVar("Kind", bound=Tensor)


def check_sharding(recipe: Recipe, world: World) -> None:
    """Check that a recipe's networks can be cut, if it asks for that.

    Raises:
        InputError: one process, or keys that do not go with it.
    """
    if not recipe.compute.shard:
        return
    if world.size == 1:
        raise InputError(
            "recipe key compute.shard is True, but there is one process; `torchrun --nproc-per-node N -m -- "
            "videofusion train ...` starts N of them, or set compute.shard=false"
        )
    if recipe.compute.compile:
        raise InputError("recipe key compute.shard is True and compute.compile is True; allowed is one of them")
    if recipe.start.trains == "lora":
        raise InputError(
            "recipe key compute.shard is True and start.trains is 'lora'; allowed there are 'full' and 'temporal'"
        )
    check_storage()


def check_offload(recipe: Recipe, parts: Collection[str]) -> None:
    """Check that what a recipe keeps in the CPU's memory is a part of its system.

    Args:
        recipe: of the run.
        parts: of the system, by name.

    Raises:
        InputError: it is none.
    """
    if recipe.compute.offload not in ("none", *parts):
        raise InputError(
            f"recipe key compute.offload is {recipe.compute.offload!r}, but the system {recipe.system.name!r} has no "
            f"such part; it has {', '.join(parts)}"
        )


def shard(modules: Mapping[str, nn.Module], recipe: Recipe, world: World, device: torch.device) -> None:
    """Cut networks into shards, in place; their parameters become DTensors.

    Args:
        modules: of a system by name, the same in every process.
        recipe: its precision is what U-Nets are gathered in; gradients are summed in float32. What it offloads stays
            on the CPU, gradients too, and comes to the device block by block.
        world: the processes.
        device: where this one computes.
    """
    # UNet.forward ends with a change of shape, and nobody writes into what it returns
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(device.type, (world.size,))
    half = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if recipe.compute.precision == "bfloat16" else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,  # autocast does, where it should: times and frame numbers stay float32
    )
    for name, module in modules.items():
        offload = OffloadPolicy()
        if name == recipe.compute.offload:  # pinned memory is copied to a GPU while it computes
            offload = CPUOffloadPolicy(pin_memory=device.type == "cuda")
        for parameter in module.parameters():  # a shard is some rows of a tensor in order, not channels last
            parameter.data = parameter.data.contiguous()
        if isinstance(module, FrameNetwork):
            for block in module.parts():
                fully_shard(block, mesh=mesh, mp_policy=half, offload_policy=offload)
        policy = half if isinstance(module, FrameNetwork) else MixedPrecisionPolicy()
        # let go of after forward, too: the average takes the weights' place between one forward and the next
        fully_shard(module, mesh=mesh, mp_policy=policy, offload_policy=offload, reshard_after_forward=True)
        if hasattr(module, "encode"):
            register_fsdp_forward_method(module, "encode")  # of the text encoder, which is called so


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from its shards, in which all processes have a part; others as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def by_device(tensors: Iterable[Kind]) -> list[list[Kind]]:
    """Tensors in groups that lie on one device each, in order; what is offloaded is on another than the rest."""
    groups: dict[torch.device, list[Kind]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.device, []).append(tensor)
    return list(groups.values())


def collected(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Tensors put together from their shards, one after the other; all processes must call.

    Args:
        tensors: by name.
        keep: whether this process wants them; where it does, those that were cut are then in the CPU's memory.
    """
    found = {}
    for name, tensor in tensors.items():
        value = whole(tensor.detach())
        if keep:
            found[name] = value.cpu() if isinstance(tensor, DTensor) else value
    return found


def cut_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's shard of a whole tensor, where `like` is cut; else the tensor."""
    if not isinstance(like, DTensor):
        return value
    value = value.to(like.device, like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)  # every process has it all


def whole_pipeline(pipeline: Any, keep: bool) -> Any:
    """Put whole copies, on the CPU, in the place of a pipeline's parts that are cut; all processes must call.

    Args:
        pipeline: changed in place where this process keeps it.
        keep: whether this process wants it.
    """
    for name, part in list(pipeline.components.items()):
        if _is_cut(part):
            tensors = collected(part.state_dict(), keep)
            if keep:
                kind: Any = next(kind for kind in type(part).__mro__ if not issubclass(kind, FSDPModule))
                with torch.random.fork_rng([]):
                    copy = kind.from_config(part.config)
                copy.load_state_dict(tensors)
                pipeline.register_modules(**{name: copy})
    return pipeline


def _is_cut(part: Any) -> bool:
    return isinstance(part, FSDPModule)
