"""Outputs of a run's weights: sample grids, the model folder, the pipeline of any checkpoint, a folder to share.

In a run all processes take part, one writes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videofusion import models
from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.files import write_folder
from videofusion.networks.lora import save_pipeline
from videofusion.parts import without_bars
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System
from videofusion.systems.pipeline import VideoPipeline
from videofusion.training.checkpoints import check_shapes, load, read_into
from videofusion.training.plain_diffusers import plain_pipeline
from videofusion.training.sharding import whole_pipeline
from videofusion.training.world import World
from videofusion.trusted import read_config

MOST_PROMPTS = 8  # of a sample grid


def checkpoint_pipeline(path: Path) -> VideoPipeline:
    """The pipeline with the averaged weights of a checkpoint, on the CPU.

    All that is no weight, and what is never trained, comes from the run's `model`.

    Args:
        path: of the checkpoint, in the folder `checkpoints` of its run; written by any number of processes.

    Raises:
        InputError: it is damaged, has adapters, or its run has no model or one of other tensors.
    """
    found = load(path)
    model = path.resolve().parent.parent / "model"
    if Recipe.from_json(found.recipe).start.trains == "lora":
        raise InputError(
            f"checkpoint {path} has adapters beside weights (start.trains is 'lora'); export {model} instead"
        )
    if not (model / "model_index.json").is_file():
        raise InputError(
            f"checkpoint {path} has no sizes and words of its own, and there is no {model} to take them from"
        )
    pipeline = models.load(model, device="cpu")
    parts = {name.split(".")[0] for name in found.weights}  # others are never trained
    weights = {
        f"{part}.{name}": tensor
        for part, module in pipeline.components.items()
        if part in parts
        for name, tensor in module.state_dict().items()
    }
    check_shapes(f"checkpoint {path}", weights, found.weights)
    averaged = {name: weights.pop(name) for name in found.ema}  # the others are as training left them
    read_into(found, {"weights": weights, "ema": averaged})
    return pipeline


def grid_prompts(recipe: Recipe, captions: Sequence[Sequence[str]], encoder: Any, world: World) -> list[str]:
    """What the sample grids of a run show.

    Args:
        recipe: its prompts come first.
        captions: of this process's share of each validation batch, which are shown where the recipe has no prompts.
        encoder: of texts; captions are cut to what it takes, as they are in training. None leaves them whole.
        world: the processes that have the other shares.
    """
    if recipe.sampling.prompts:
        return list(recipe.sampling.prompts)[:MOST_PROMPTS]
    shares = world.gathered([list(share) for share in captions])
    found = (caption for batch in zip(*shares, strict=True) for share in batch for caption in share if caption)
    shown = list(dict.fromkeys(found))[:MOST_PROMPTS]
    return shown if encoder is None else [_cut(caption, encoder) for caption in shown]


def _cut(caption: str, encoder: Any) -> str:
    """As many of its words as the encoder takes, from its beginning."""
    words = caption.split()
    while len(words) > 1:
        try:
            encoder.check(" ".join(words))
        except InputError:
            words.pop()
        else:
            break
    return " ".join(words)


def grid_clips(
    system: System, prompts: Sequence[str], steps: int, world: World, pictures: Tensor | None = None
) -> Tensor:
    """Sample clips with the present weights, always with the same seeds; the processes share the work.

    Args:
        system: in evaluation mode.
        prompts: one for each clip, the same in every process.
        steps: of the sampler.
        world: the processes; one that is left without a prompt repeats the first, for the networks may be cut up.
        pictures: first frames that clips go on from, in turn, [k 1 c h w] where they live; of none when None.

    Returns:
        [b t c h w], on the CPU.
    """
    own = list(range(world.rank, len(prompts), world.size)) or [0]
    given: dict[str, Any] = {}
    if pictures is not None:
        given["known"] = Known(pictures[[i % len(pictures) for i in own]], at=[0], latent=True)
    clips = system.pipeline()([prompts[i] for i in own], seed=own, steps=steps, **given).float().cpu()
    found = {i: clip for numbers, part in world.gathered((own, clips)) for i, clip in zip(numbers, part, strict=True)}
    return torch.stack([found[i] for i in range(len(prompts))])


def write_model(system: System, recipe: Recipe, folder: Path, world: World) -> None:
    """Write the pipeline with the present weights as a folder: whole, or not at all.

    Args:
        system: whose average has taken the weights' place.
        recipe: of the run; it lies beside the weights.
        folder: which is replaced.
        world: the processes; the first one writes.

    Raises:
        RunError: see `write_folder`.
    """
    pipeline = whole_pipeline(system.pipeline(), world.writes) if recipe.compute.shard else system.pipeline()

    def fill(new: Path) -> None:
        if recipe.start.trains == "lora":
            save_pipeline(pipeline, new)
        else:
            pipeline.save_pretrained(new)
        (new / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=1) + "\n", encoding="utf-8")

    if world.writes:
        with without_bars():
            write_folder(folder, fill)


def export_model(name_or_path: str | Path, out: Path, *, dtype: str = "float16", diffusers: str | None = None) -> Path:
    """Write a model's folder to share it: the same pipeline, or one of diffusers, its weights in half precision.

    Args:
        name_or_path: as for `load`; or a run folder, for the model of its newest checkpoint; or the folder of any
            checkpoint in it, as RUN/checkpoints/step-00000100, for its averaged weights.
        out: the new folder, which must not exist; its parent is made.
        dtype: "float16", "bfloat16" or "float32" (no change).
        diffusers: name of an image network, "unet" or VideoFusion's "base", which is written as a pipeline of diffusers
            that loads where this package is not; all networks as a pipeline of ours when None.

    Returns:
        the new folder, written whole or not at all.

    Raises:
        InputError: no such model, an unknown dtype, or something at `out` already; a checkpoint of which no model can
            be made; a network that diffusers cannot have, see `plain_pipeline`.
    """
    kinds = ("float16", "bfloat16", "float32")
    if dtype not in kinds:
        raise InputError(f"dtype is {dtype!r}, but must be one of {', '.join(kinds)}")
    if out.exists():
        raise InputError(f"out is {out}, which exists; name a folder that does not")
    path = Path(name_or_path)
    is_checkpoint = (path / "state.json").is_file()
    pipe = checkpoint_pipeline(path) if is_checkpoint else models.load(name_or_path, device="cpu")
    if diffusers is not None:
        pipe = plain_pipeline(pipe, diffusers)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, getattr(torch, dtype))  # not diffusers' own, which warns of nothing

    def fill(folder: Path) -> None:
        pipe.save_pretrained(folder)
        for file in folder.rglob("*.json"):  # where it lay on this machine is nobody else's business
            values = read_config(file)
            values.pop("_name_or_path", None)
            file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    with without_bars():
        write_folder(out, fill)
    return out
