"""Systems with networks so small that a law about them is tested in milliseconds."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion import Keys
from videofusion.networks.prior import Prior
from videofusion.networks.unet import UNet
from videofusion.systems.decomposed import SEES_BASE
from videofusion.systems.training import SamplingDefaults, StepOptions
from videofusion.systems.vdm import VDMSystem
from videofusion.systems.videofusion import VideoFusionSystem

FRAMES, SIZE, MIDDLE = 5, 8, 2
WORDS = ["a", "red", "blue", "three", "moving", "left"]


def unet(temporal: str, in_channels: int = 3, image_size: int | None = None, fps: bool = False) -> UNet:
    """A network that reads the text and, unlike a new one, lets its temporal layers speak."""
    network = UNet(
        in_channels=in_channels,
        channels=(8, 16),
        blocks=1,
        attention=("none", "transformer"),
        heads=2,
        text_size=16,
        image_size=image_size,
        fps=fps,
        groups=4,
        temporal=temporal,
    )
    shake(network)
    return network


def shake(module: torch.nn.Module) -> None:
    """Move every weight that begins at zero: an untrained network hides what it depends on."""
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)


def words() -> WordEncoder:
    return WordEncoder(words=WORDS, size=16, layers=1, heads=2, max_words=8)


def videofusion(variant: str = "corrected", *, fps: bool = False, **options: object) -> VideoFusionSystem:
    """A system of that variant, always with the same weights; with `fps`, one that is told the clips' rate."""
    torch.manual_seed(0)
    published = variant == "published"
    size = 16 if published else None
    design = "framewise" if variant == "framewise" else "residual"
    residual = unet(design, 6 if variant in SEES_BASE else 3, size, fps)
    prior = Prior(size=16, text_size=16, width=16, depth=1) if published else None
    if prior is not None:
        shake(prior)
    system = VideoFusionSystem(
        unet("image", image_size=size),
        residual,
        words(),
        shape=(FRAMES, SIZE, SIZE),
        variant=variant,
        image_encoder=FrameEncoder(size=16, channels=(8, 8)) if published else None,
        prior=prior,
        **by_part(options),
    )
    return evaluated(system)


def vdm(*, fps: bool = False, **options: object) -> VDMSystem:
    """The baseline, always with the same weights; with `fps`, one that is told the clips' rate."""
    torch.manual_seed(0)
    return evaluated(VDMSystem(unet("factorised", fps=fps), words(), shape=(FRAMES, SIZE, SIZE), **by_part(options)))


def by_part(options: dict[str, object]) -> dict[str, object]:
    """The keywords of a system, those of its training steps and of sampling among them put where it takes them."""
    kinds = {"options": StepOptions, "sampling": SamplingDefaults}
    parts = {
        name: kind(**{each.name: options.pop(each.name) for each in fields(kind) if each.name in options})
        for name, kind in kinds.items()
    }
    return {**options, **parts}


def evaluated(system):
    # torch's transformer computes in another order in training, which would hide small differences
    for part in system.modules.values():
        part.eval()
    return system


CAPTIONS = ["a red three", "a blue three moving left", "moving", "a red three moving"]


def batch(clips: int = 4, identities: tuple[str, ...] = (), actions: tuple[str, ...] = ()) -> Batch:
    """Clips that do not change from call to call."""
    numbers = torch.arange(clips * FRAMES * 3 * SIZE * SIZE).reshape(clips, FRAMES, 3, SIZE, SIZE)
    clip = torch.sin(0.37 * numbers + torch.arange(clips).reshape(-1, 1, 1, 1, 1))
    names = [f"clip {i}" for i in range(clips)]
    return Batch(clip, CAPTIONS[:clips], names, torch.arange(clips), list(identities), list(actions))


def keys(clips: int = 4) -> Keys:
    return Keys.of([11 * i + 5 for i in range(clips)])


def select(batch: Batch, index: list[int]) -> Batch:
    """Some clips of a batch."""
    return Batch(
        batch.clip[index], [batch.captions[i] for i in index], [batch.names[i] for i in index], batch.ids[index]
    )


def gradients(module: torch.nn.Module) -> Tensor:
    """All gradients of a module in one row; zero where there are none."""
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in module.parameters()]
    )
