"""How large a recipe's system is and how much a step works, counted on torch's meta device, where nothing is computed.

There a tensor has a shape and no numbers, so that billions of parameters take no memory and a step takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from videofusion.data.batch import Batch, Sample
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system, step_options
from videofusion.systems.interface import System
from videofusion.systems.pretrained import is_diffusers
from videofusion.training.estimate.memory import Part, Watch, count_parts


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a recipe's system is, and what one clip costs it in training.

    Args:
        parts: numbers of parameters; the text encoder's without the words that data bring.
        flops: of one clip's forward and backward pass, or a batch's; an addition and a multiplication count as two.
        activations: bytes that the autograd graph keeps for it.
        block: parameters of the largest residual block or attention.
    """

    parts: tuple[Part, ...]
    flops: int
    activations: int
    block: int

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return sum(part.trained for part in self.parts)

    @property
    def frozen(self) -> int:
        """Parameters that are not, of the parts that a recipe may train."""
        return sum(part.frozen for part in self.parts if not part.apart)

    @property
    def apart(self) -> int:
        """Parameters of the parts that none does, such as an autoencoder."""
        return sum(part.frozen for part in self.parts if part.apart)


def recipe_parts(recipe: Recipe) -> list[Part]:
    """The parameters of each part of a recipe's system.

    Args:
        recipe: of any size.

    Raises:
        InputError: `trains` is not "full", or what building the system refuses.
    """
    system = _outline(recipe)
    return count_parts(system.modules, system.frozen)


def recipe_work(recipe: Recipe, clips: int = 1) -> Work:
    """Count a training step on a clip, or a batch of them, all of its frames, attention fused as on a GPU.

    Latents are taken to be encoded before. With the recipe's precision "bfloat16" the U-Nets' weights are counted in
    it, as FSDP2 gathers them, and so is what autocast would compute in it.

    Args:
        recipe: of any size.
        clips: in a batch; what a batch needs once only is less for each of them.

    Raises:
        InputError: `trains` is not "full", or what building the system refuses.
    """
    system = _outline(recipe)
    parts = tuple(count_parts(system.modules, system.frozen))
    half = recipe.compute.precision == "bfloat16"
    unets = [part for part in (*system.modules.values(), *system.frozen.values()) if isinstance(part, FrameNetwork)]
    for unet in unets:
        for parameter in unet.parameters() if half else ():
            parameter.data = parameter.data.to(torch.bfloat16)
    side = recipe.clips.size // system.space.factor
    clip = torch.empty(clips, recipe.clips.frames, system.space.channels, side, side, device="meta")
    names = ["clip"] * clips
    batch = Batch(clip, names, names, torch.zeros(clips, dtype=torch.int64))
    if recipe.system.pictures:
        names = names * recipe.system.pictures
        beside = clip[:, :1].repeat(recipe.system.pictures, 1, 1, 1, 1)
        batch = replace(batch, pictures=Batch(beside, names, names, torch.zeros(len(names), dtype=torch.int64)))
    with FlopCounterMode(display=False) as flops, Watch() as watch, _OnGpu(half):
        loss = system.loss(batch, Keys.of([0] * clips), 0)
        activations = watch.saved
        loss.total.backward()
    return Work(
        parts=parts,
        flops=int(flops.get_total_flops()),
        activations=activations,
        block=max(sum(p.numel() for p in block.parameters()) for unet in unets for block in unet.parts()),
    )


def steps_within(recipe: Recipe, flops: float | int) -> int:
    """How many steps of training a budget of arithmetic is enough for.

    Counted are the forward and backward passes of the frames that each step looks at, as `recipe_work` counts them;
    validation, the optimiser and what prepares the data are not.

    Args:
        recipe: of any size.
        flops: an addition and a multiplication counting as two.

    Raises:
        InputError: they are not enough for one step; or what `recipe_work` refuses.
    """
    options = step_options(recipe)
    by_frames: dict[int, int] = {}

    def needed(step: int, progress: float) -> int:
        looked = len(options.frames(recipe.clips.frames, step, progress))
        if looked not in by_frames:
            whole = recipe.replace({"clips.frames": looked, "batch.frames": None, "batch.reach": None})
            by_frames[looked] = recipe.batch.accumulation * recipe_work(whole, recipe.batch.size).flops
        return by_frames[looked]

    def spent(steps: int) -> int:
        """What a run of so many steps works: stretches of it look at as many frames every eighth step, and else."""
        total, begin = 0, 0
        while begin < steps:
            end = _first_unlike(lambda step: len(options.frames(recipe.clips.frames, 0, step / steps)), begin, steps)
            eighths = -(-end // 8) - -(-begin // 8)
            total += eighths * needed(0, begin / steps) + (end - begin - eighths) * needed(1, begin / steps)
            begin = end
        return total

    if spent(1) > flops:
        raise InputError(f"a budget of {flops:.3g} FLOP is not enough for one step, which takes {spent(1):.3g}")
    steps = 2
    while spent(steps) <= flops:
        steps *= 2
    return _first_unlike(lambda number: spent(number) <= flops, steps // 2, steps) - 1


def _first_unlike(of: Callable[[int], Any], begin: int, end: int) -> int:
    """The first number from `begin` to `end` of which `of` says something else than of `begin`, which it keeps to."""
    first, low, high = of(begin), begin, end
    while high - low > 1:
        middle = (low + high) // 2
        if of(middle) == first:
            low = middle
        else:
            high = middle
    return high


class _NoClips:
    """Data that say nothing: what a system takes from its data is words and ranges, which no size depends on."""

    captions = ("clip",)

    def __len__(self) -> int:
        return 0

    def sample(self, index: int, epoch: int, seed: int) -> Sample:
        raise IndexError(index)


def _outline(recipe: Recipe) -> System:
    """The recipe's system on the meta device, as a step in which all frames are looked at sees it."""
    if recipe.start.trains != "full":
        raise InputError(
            f'recipe key start.trains is "{recipe.start.trains}", but only "full" can be counted without its weights'
        )
    # what needs numbers and changes no size: weights to start from, measured shares, betas, whether eps says something
    theirs = is_diffusers(recipe.start.image_model)
    start = {"start.model": None, **({} if theirs else {"start.image_model": None})}
    same = {**start, "system": recipe.system.outline(theirs)}
    step = {"batch.frames": None, "batch.reach": None, "diffusion.prediction": "v", "diffusion.schedule": "cosine"}
    with torch.device("meta"):
        return build_system(recipe.replace({**same, **step}), _NoClips())


class _OnGpu(TorchFunctionMode):
    """Within the block: fused attention, and with `half` the types that autocast computes in on a GPU.

    The meta device knows neither: it would keep every attention matrix, and all in float32.
    """

    def __init__(self, half: bool) -> None:
        super().__init__()
        self.half = half

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.half and func in _IN_BFLOAT16 + _IN_FLOAT32:
            kind = torch.bfloat16 if func in _IN_BFLOAT16 else torch.float32
            args = tuple(_cast(value, kind) for value in args)
            kwargs = {key: _cast(value, kind) for key, value in kwargs.items()}
        if func is F.scaled_dot_product_attention and len(args) == 3 and kwargs.get("attn_mask") is None:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args, None, True)[0]
        return func(*args, **kwargs)


_IN_BFLOAT16 = (F.conv2d, F.linear, F.scaled_dot_product_attention)
_IN_FLOAT32 = (F.group_norm, F.layer_norm)


def _cast(value: Any, kind: torch.dtype) -> Any:
    return value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value
