"""A system small enough to train in milliseconds, with what the trainer asks of any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.noise import IndependentNoise, Keys
from videofusion.networks.autoencoder import Pixels
from videofusion.recipes.recipe import Recipe
from videofusion.systems.videofusion import VideoFusionConfig
from videofusion.training.run_folder import open_run
from videofusion.training.trainer import Trainer


@dataclass(frozen=True)
class ToyLosses:
    total: Tensor
    parts: dict[str, Tensor]
    per_clip: Tensor


class ToySystem:
    """Learns to subtract noise by two convolutions and a buffer; can be told to fail at a step."""

    def __init__(self, nan_at: int | None = None, width: int = 4) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.Dropout(0.2), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)
        )
        self.net, self.norm = net.to(memory_format=torch.channels_last), nn.BatchNorm2d(3)
        self.modules: dict[str, nn.Module] = {"net": self.net, "norm": self.norm}
        self.frozen: dict[str, nn.Module] = {}
        self.space = Pixels()
        self.nan_at = nan_at
        self.steps: list[int] = []

    def parameter_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.net.parameters()), "lr": lr},
            {"params": list(self.norm.parameters()), "lr": 0.1 * lr},
        ]

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> ToyLosses:
        self.steps.append(step)
        noise = IndependentNoise().draw(batch.clip.shape, keys, step).eps
        z = (batch.clip + noise).flatten(0, 1)
        guess = self.norm(self.net(z)).unflatten(0, batch.clip.shape[:2])
        per_clip = (guess - noise).square().mean(dim=(1, 2, 3, 4))
        if step == self.nan_at:
            per_clip = per_clip * torch.tensor([float("nan"), *[1.0] * (len(batch) - 1)])
        return ToyLosses(per_clip.mean(), {"largest": per_clip.detach().max()}, per_clip)

    def pipeline(self) -> ToyPipeline:
        return ToyPipeline(self.net[0].weight.detach().clone())


@dataclass(frozen=True)
class ToyPipeline:
    weight: Tensor

    def __call__(self, prompt: list[str], *, seed: list[int], steps: int) -> Tensor:
        shade = 100 * self.weight.mean().item()  # tells any two sets of weights apart
        return torch.stack([torch.full((4, 3, 8, 8), shade + i) for i in seed]).sin()

    def save_pretrained(self, path: Path) -> None:
        (path / "weight.json").write_text(json.dumps(self.weight.flatten().tolist()))


class ToyBatches:
    """Batch n is made from n alone."""

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.report: dict[str, str] = {}
        self.waited = self.busy = 0.0

    def starting(self, number: int) -> Iterator[Batch]:
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> Batch:
        ids = torch.arange(number * self.size, (number + 1) * self.size)
        clip = torch.sin(ids.float()[:, None] + torch.arange(4 * 3 * 8 * 8)).reshape(-1, 4, 3, 8, 8)
        return Batch(clip, [""] * self.size, [f"clip-{i}" for i in ids.tolist()], ids)


def toy_recipe(**changes: object) -> Recipe:
    """A recipe for the toy: validates, samples and saves often."""
    return Recipe(name="toy", system=VideoFusionConfig()).replace(
        {
            "budget.steps": 10,
            "optimizer.warmup": 3,
            "optimizer.learning_rate": 1e-2,
            "batch.size": 4,
            "log.validation_interval": 3,
            "checkpoints.interval": 2,
            "log.sample_interval": 0,
            "log.interval": 2,
            **changes,
        }
    )


def toy_validation() -> Sequence[Batch]:
    return [ToyBatches().batch(1000)]


def toy_trainer(run: Path, system: ToySystem | None = None, **changes: object) -> Trainer:
    """A trainer of the toy on the CPU, as `train` makes one."""
    recipe = toy_recipe(**changes)
    open_run(recipe, run)
    torch.manual_seed(recipe.seed)
    return Trainer(recipe, system or ToySystem(), ToyBatches(), toy_validation(), run, torch.device("cpu"))


LONG = {"log.validation_interval": 15, "checkpoints.interval": 5}


def train_in_a_process(run: Path, steps: int) -> None:
    """What a process that is going to be killed does."""
    toy_trainer(run, **{"budget.steps": steps}, **LONG).train()
