"""A recipe on one GPU, on paper: nothing is computed, no weights or clips are read, and no GPU is needed.

With T trained parameters, F frozen ones of the same parts, and A of parts that are never trained (a fixed base
generator, the autoencoder, the text encoder):

    stays      4 (T + F) + 4 (those with a moving average) + 8 T (moments; 2 T in 8 bits) + 4 A
    step       4 T (gradients) + 2 T (autocast's copies, in bfloat16) + the most that a micro-batch holds
    update     4 T
    encoding   what the autoencoder holds for a micro-batch; nothing for clips that were encoded before
    samples    2 T + a pass forward of the clips of a sample grid, with and without their prompts
    computing  micro-batches · operations / (peak · utilisation)

What is held is counted on torch's meta device, tensor by tensor (`memory.Watch`). What a kernel needs within itself,
CUDA's context and holes between tensors are not: a tenth of the GPU is left for them, which is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System
from videofusion.systems.tuning import is_tuned
from videofusion.training.estimate.memory import Held, Memory, Part, Watch, human, parts_table
from videofusion.training.estimate.sizes import OnGpu, count_work, empty_batch, outline

USABLE = 0.9 * 2**30  # bytes of a GPU's "gigabyte" of 1024 MiB; the tenth that is left is assumed
UTILISATION = 0.4  # of a GPU's peak that training reaches; assumed
# operations a second in bfloat16 without sparsity, as data sheets have them
PEAKS = {"RTX 4090 (24 GB)": 165e12, "A100 (80 GB)": 312e12, "H100 (80 GB)": 989e12}
GRID = 4  # clips of a sample grid


@dataclass(frozen=True, kw_only=True)
class GpuPlan:
    """What a run needs of one GPU.

    Args:
        parts: numbers of parameters.
        memory: as in a dry run.
        flops: of a step of the optimiser, all of its micro-batches.
        clips: of a micro-batch.
        micro_batches: of a step.
    """

    parts: tuple[Part, ...]
    memory: Memory
    flops: int
    clips: int
    micro_batches: int

    def fits(self, gigabytes: float) -> bool:
        """Whether a GPU of that memory is expected to do."""
        return self.memory.peak <= USABLE * gigabytes

    def check(self, gigabytes: float) -> None:
        """Raise InputError unless a GPU of that memory is expected to do."""
        if not self.fits(gigabytes):
            raise InputError(
                f"the run is expected to need {human(self.memory.peak)}, but a GPU of {gigabytes:g} GB has "
                f"{human(USABLE * gigabytes)} for it; less is needed with --batch.size 1, "
                "--compute.gradient-checkpointing, --start.trains lora, --system.base-loss fixed, clips encoded before "
                "(data encode), or a smaller --clips.size"
            )

    def report(self, gigabytes: float) -> str:
        """The plan for a GPU of that memory, as a text."""
        lines = parts_table(self.parts)
        rows = [
            *self.memory.held.rows(),
            ("frozen parts", self.memory.apart, "stay all the time"),
            *((f"most in: {name}", size, "beside what stays") for name, size in self.memory.phases.items()),
            (
                "expected peak",
                self.memory.peak,
                f"a GPU of {gigabytes:g} GB has {human(USABLE * gigabytes)} for it",
            ),
        ]
        lines += ["", f"memory on one GPU, on paper; a micro-batch is {self.clips} clips"]
        lines += [f"{name:<20}  {human(size):>9}  {note}" for name, size, note in rows]
        tera = self.flops / 1e12
        lines += ["", f"a step: {self.micro_batches} micro-batches, {tera:,.0f} TFLOP"]
        lines += [
            f"{name:<20}  {self.flops / UTILISATION / peak:>7.1f} s  at {UTILISATION:.0%} of {peak / 1e12:.0f} TFLOP/s"
            for name, peak in PEAKS.items()
        ]
        lines.append("these shares of a peak are assumed: a dry run on the GPU itself measures a step")
        return "\n".join(lines)


def plan_for_gpu(recipe: Recipe, *, encoded: bool = False) -> GpuPlan:
    """Plan a recipe on one GPU.

    Args:
        recipe: of any size.
        encoded: whether its clips were encoded by its autoencoder before.

    Raises:
        InputError: several processes; a model of ours to tune, whose weights would have to be read; or what building
            the system refuses.
    """
    if recipe.compute.shard:
        raise InputError("recipe key compute.shard is True; a plan for one GPU is of one process")
    system, half = outline(recipe), recipe.compute.precision == "bfloat16"
    work = count_work(system, recipe, recipe.batch.size)
    eight_bit = recipe.optimizer.name == "adamw8bit"
    averaged = work.trained if is_tuned(recipe) else None
    held = Held.by_numbers(work.trained, work.frozen, averaged=averaged, eight_bit=eight_bit)
    copies = 2 * work.trained * half
    phases = {"step": held.gradients + copies + work.step, "update": held.gradients}
    if system.space.vae is not None and not encoded:
        phases["encoding"] = _encoding(system, recipe)
    if recipe.log.sample_interval:
        phases["samples"] = copies + _sampling(system, recipe, half)
    return GpuPlan(
        parts=work.parts,
        memory=Memory(held=held, apart=4 * work.apart, activations=work.activations, phases=phases),
        flops=recipe.batch.accumulation * work.flops,
        clips=recipe.batch.size,
        micro_batches=recipe.batch.accumulation,
    )


def _encoding(system: System, recipe: Recipe) -> int:
    """The most bytes while a micro-batch is brought into latents."""
    shape = (recipe.batch.size, recipe.clips.frames, 3, recipe.clips.size, recipe.clips.size)
    with Watch() as watch, OnGpu(False):
        system.space.encode(torch.empty(shape, device="meta"))
        return watch.take_peak()


def _sampling(system: System, recipe: Recipe, half: bool) -> int:
    """The most bytes in a pass forward of a sample grid, and in the decoding of its clips."""
    clips = min(GRID, len(recipe.sampling.prompts) or GRID)
    batch = empty_batch(system, recipe, 2 * clips if recipe.sampling.guidance not in (0, 1) else clips)
    with torch.no_grad(), Watch() as watch, OnGpu(half):
        system.loss(batch, Keys.of([0] * len(batch)), 0)
        forward = watch.take_peak()
    with Watch() as watch, OnGpu(False):
        system.space.decode(batch.clip[:clips])
        return max(forward, watch.take_peak())
