"""The U-Net of lucidrains/video-diffusion-pytorch; it asks for torchvision at import, not for running its network.

pip install --no-deps video-diffusion-pytorch einops-exts rotary-embedding-torch
"""

from __future__ import annotations

import sys
from types import ModuleType

import diffusers  # noqa: F401 - looks for torchvision when imported, so before the stub is there
from torch import nn


def peer_unet(dim: int, multipliers: tuple[int, ...]) -> nn.Module:
    """Their `Unet3D`; it takes clips b c t h w and times [b]."""
    stub, transforms, utils = (ModuleType(f"torchvision{part}") for part in ("", ".transforms", ".utils"))
    transforms.ToTensor = lambda: None
    stub.transforms, stub.utils = transforms, utils
    stubs = {module.__name__: module for module in (stub, transforms, utils)}
    sys.modules.update(stubs)
    try:
        from video_diffusion_pytorch.video_diffusion_pytorch import Unet3D
    finally:
        for name in stubs:
            del sys.modules[name]
    return Unet3D(dim=dim, dim_mults=multipliers)
