"""A recipe on many GPUs, on paper: memory, bytes that are moved and time of a step: `python -m studies.scaling RECIPE`.

With P parameters of which T are trained, N GPUs, M micro-batches of m clips on each, w bytes of a weight as it is
gathered (2 in bfloat16, 4 in float32), A bytes of activations and C operations of a clip (`sizes.py` counts both):

    moved, data parallel   2 (N - 1)/N · 4 T                     a ring sums the gradients once a step
    moved, FSDP2           M (N - 1)/N · (2 w P + 4 T)           weights for each pass forward and back, gradients
    memory, data parallel  4 (2 P + 3 T) + m A + 2 P             weights, average, gradients, moments; autocast's copies
    memory, FSDP2          4 (2 P + 3 T)/N + m A + (2 w + 4) B   two blocks of at most B parameters and one's gradients
    computing              M m C / (peak · utilisation)
    moving                 moved / link                          the slowest link of a ring, in a machine or between
    step                   from the longer of the two (all moving hidden) to their sum (none)

With `offload`, the terms 4 (2 P + 3 T)/N of that part are on the CPU (`host`), and its blocks go to the GPU and back.

Left out: that way, the optimiser's own time, data, and pages that no tensor fills. Autocast's copies are there in
bfloat16 only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from videofusion.cli import run_command
from videofusion.cli.recipe_keys import RecipeKeys
from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe
from videofusion.training.estimate.memory import Held, Part, human
from videofusion.training.estimate.sizes import Work, recipe_work

WAYS = ("data parallel", "FSDP2")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """GPUs and what joins them; by default NVIDIA's H100 SXM as its data sheet has it, in machines of eight.

    Args:
        peak: operations per second of a GPU, in bfloat16 without sparsity.
        utilisation: share of it that training reaches, in (0, 1]; assumed, not measured.
        memory: bytes of a GPU.
        machine: GPUs of a machine.
        inside: bytes per second that a GPU sends to others of its machine (NVLink).
        between: bytes per second that a GPU sends to other machines (400 Gbit/s for each GPU).
    """

    peak: float = 989e12
    utilisation: float = 0.4
    memory: float = 80e9
    machine: int = 8
    inside: float = 450e9
    between: float = 50e9

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise InputError(f"utilisation is {self.utilisation:g}, but must be in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A step on some GPUs; see the formulas above.

    Args:
        way: one of `WAYS`.
        gpus: how many.
        clips: of a micro-batch on each.
        micro_batches: of a step.
        memory: bytes on each.
        host: bytes in the CPU's memory for each, of what is offloaded.
        activations: bytes among them.
        moved: bytes that each sends, and receives, in a step.
        computing: seconds.
        moving: seconds.
    """

    way: str
    gpus: int
    clips: int
    micro_batches: int
    memory: int
    host: int
    activations: int
    moved: int
    computing: float
    moving: float


def plan_step(
    work: Work,
    way: str,
    gpus: int,
    clips: int,
    *,
    batch: int,
    half: bool,
    offload: str = "none",
    cluster: Cluster = Cluster(),
) -> Plan:
    """A step of a recipe on some GPUs.

    Args:
        work: of the recipe.
        way: one of `WAYS`.
        gpus: how many, at least 1.
        clips: of a micro-batch on each GPU, at least 1.
        batch: clips of a step on all of them.
        half: whether weights are gathered, and copied by autocast, in bfloat16.
        offload: the part that FSDP2 keeps on the CPU, or "none".
        cluster: the GPUs.

    Raises:
        InputError: an unknown way; a batch that cannot be shared so.
    """
    if way not in WAYS:
        raise InputError(f'way is "{way}", but must be one of {", ".join(WAYS)}')
    if gpus < 1 or clips < 1 or batch % (gpus * clips):
        raise InputError(
            f"a step of {batch} clips cannot be shared by {gpus} GPUs in micro-batches of {clips} clips on each; their "
            "product must divide it"
        )
    sharded = way == "FSDP2"
    cut = [part for part in work.parts if not part.apart or (sharded and part.name == "base")]  # a fixed base too
    trained, gathered = work.trained, 2 if half else 4
    weights = trained + sum(part.frozen for part in cut)
    micro_batches = batch // (gpus * clips)
    away = [part for part in work.parts if sharded and part.name == offload]
    ranks = gpus if sharded else 1
    held, host = (_held([part for part in cut if (part in away) is is_away], ranks) for is_away in (False, True))
    activations = clips * work.activations
    beside = (2 * gathered + 4) * work.block if sharded else 2 * weights * half
    sent = micro_batches * (2 * gathered * weights + 4 * trained) if sharded else 8 * trained
    moved = sent * (gpus - 1) // gpus
    link = cluster.inside if gpus <= cluster.machine else cluster.between
    return Plan(
        way=way,
        gpus=gpus,
        clips=clips,
        micro_batches=micro_batches,
        memory=held.resident
        + 4 * (work.trained + work.frozen + work.apart - weights)
        + held.gradients
        + activations
        + beside,
        host=host.resident + host.gradients,
        activations=activations,
        moved=moved,
        computing=micro_batches * clips * work.flops / (cluster.peak * cluster.utilisation),
        moving=moved / link,
    )


def _held(parts: Sequence[Part], ranks: int) -> Held:
    """What a GPU holds of parts that so many share."""
    trained, frozen = sum(part.trained for part in parts), sum(part.frozen for part in parts)
    averaged = trained + sum(part.frozen for part in parts if not part.apart)
    return Held.by_numbers(trained, frozen, averaged=averaged, ranks=ranks)


def scaling_report(recipe: Recipe, gpus: Sequence[int] = (8, 64), clips: int = 1, cluster: Cluster = Cluster()) -> str:
    """What a recipe needs on several numbers of GPUs, as a text with a table.

    Args:
        recipe: what would be trained; its batch_size times accumulation is what a step looks at.
        gpus: how many.
        clips: of a micro-batch on each GPU.
        cluster: the GPUs.

    Raises:
        InputError: see `plan_step` and `recipe_work`.
    """
    batch, half = recipe.batch.size * recipe.batch.accumulation, recipe.compute.precision == "bfloat16"
    work = recipe_work(recipe)
    plans = [
        plan_step(work, way, n, clips, batch=batch, half=half, offload=recipe.compute.offload, cluster=cluster)
        for n in gpus
        for way in WAYS
    ]
    parts = ", ".join(f"{part.name} {(part.trained + part.frozen) / 1e6:,.1f}" for part in work.parts)
    numbers = work.trained + work.frozen + work.apart
    lines = [
        f"{recipe.name}: {numbers / 1e9:.2f} billion parameters (in millions: {parts})",
        f"a clip of {recipe.clips.frames}x{recipe.clips.size}x{recipe.clips.size}: "
        f"{work.flops / 1e12:.2f} TFLOP forward and "
        f"back, {human(work.activations)} of activations; a step: {batch} clips",
        f"a GPU: {cluster.peak / 1e12:.0f} TFLOP/s, of which {cluster.utilisation:.0%} are reached, "
        f"{human(cluster.memory)}; it sends {human(cluster.inside)}/s within {cluster.machine} GPUs, "
        f"{human(cluster.between)}/s beyond",
        "",
        "| GPUs | way | micro-batches | memory each | of it activations | moved by each | computing | moving | step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for plan in plans:
        least, most = max(plan.computing, plan.moving), plan.computing + plan.moving
        host = f" + {human(plan.host)} on the CPU" if plan.host else ""
        fits = "" if plan.memory <= cluster.memory else " (too much)"
        row = (
            plan.gpus,
            plan.way,
            f"{plan.micro_batches} of {plan.clips}",
            human(plan.memory) + fits + host,
            human(plan.activations),
            human(plan.moved),
            f"{plan.computing:.2f} s",
            f"{plan.moving:.2f} s",
            f"{least:.2f} to {most:.2f} s",
        )
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def scaling(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    *,
    gpus: tuple[int, ...] = (8, 64),
    clips: int = 1,
    utilisation: float = 0.4,
    system: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    keys: RecipeKeys,
) -> None:
    """Say what a recipe needs on many GPUs, on paper: memory, bytes moved, time of a step; docs/recipes.md explains.

    Args:
        recipe: name of a recipe, or the path of the recipe.json of a run
        gpus: how many, several times if you like
        clips: of a micro-batch on each GPU
        utilisation: share of a GPU's arithmetic that training reaches
        system: another system than the recipe's, with its keys as they are by default
        keys: the recipe's keys
    """
    print(scaling_report(keys, gpus, clips, Cluster(utilisation=utilisation)))


if __name__ == "__main__":
    sys.exit(run_command(scaling, "python -m studies.scaling"))
