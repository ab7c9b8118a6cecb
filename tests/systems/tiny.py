"""Systems with networks so small that a law about them is tested in milliseconds."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from videofusion.conditioning.condition import Condition
from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.rate import FrameRate
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion import Keys
from videofusion.networks.autoencoder import space_of
from videofusion.networks.prior import Prior
from videofusion.networks.unet import UNet
from videofusion.systems.decomposed import VARIANTS
from videofusion.systems.interface import Common, SamplingDefaults, StepOptions
from videofusion.systems.vdm import VDMConfig, VDMSystem
from videofusion.systems.videofusion import VideoFusionConfig, VideoFusionSystem

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
    """A system of that variant, always with the same weights; with `fps`, one that is told the clips' rate.

    Args:
        variant: of VideoFusion.
        fps: whether it is told the rate.
        options: of its config, of a training step, of sampling, `vae` and `profiles`, and others of `Common`, by name.
    """
    torch.manual_seed(0)
    kind = VARIANTS[variant]
    size = 16 if kind.embedding else None
    residual = unet(kind.temporal("residual"), 6 if kind.beside else 3, size, fps)
    prior = Prior(size=16, text_size=16, width=16, depth=1) if kind.embedding else None
    if prior is not None:
        shake(prior)
    base, text = unet("image", image_size=size), words()
    profiles = options.pop("profiles", None)
    config, common = by_part(VideoFusionConfig, {"share": 0.5, "variant": variant, **options})
    told: list[Condition] = [Prompt(text), Motion(config.share, profiles, config.adaptive)]
    told += [FrameRate()] if fps else []
    if prior is not None:
        told.append(FrameEmbedding(FrameEncoder(size=16, channels=(8, 8)), prior, None, common.space))
    return evaluated(VideoFusionSystem(base, residual, told, config, common))


def vdm(*, fps: bool = False, **options: object) -> VDMSystem:
    """The baseline, always with the same weights; with `fps`, one that is told the clips' rate."""
    torch.manual_seed(0)
    config, common = by_part(VDMConfig, options)
    network = unet("factorised", fps=fps)
    return evaluated(VDMSystem(network, [Prompt(words()), *[FrameRate()] * fps], config, common))


def by_part(kind: type, options: dict[str, object]) -> tuple[Any, Common]:
    """A system's config, and what is common to systems, of keywords of both."""
    options = {"shape": (FRAMES, SIZE, SIZE), "space": space_of(options.pop("vae", None)), **options}
    found = [
        {each.name: options.pop(each.name) for each in fields(part) if each.name in options}
        for part in (StepOptions, SamplingDefaults, Common, kind)
    ]
    assert not options, options
    steps, sampling, common, config = found
    return kind(**config), Common(options=StepOptions(**steps), sampling=SamplingDefaults(**sampling), **common)


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
