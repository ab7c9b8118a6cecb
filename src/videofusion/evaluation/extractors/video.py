"""Extractors of I3D and C3D: our networks with the public protocols' preprocessing, or the published TorchScripts."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from videofusion.evaluation.extractors import c3d
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.extractors.preprocess import resize_clips

I3D_SIZE = 224


class I3DExtractor(NetworkExtractor):
    """I3D on whole frames squashed to 224x224: `logits` is what TATS, StyleGAN-V and cd-fvd call features."""

    layers = ("logits", "pool")
    min_frames = 9  # fewer leave one step in time, and the network averages pairs

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        return self.network(rearrange(resize_clips(clips, I3D_SIZE), "b t c h w -> b c t h w"))


class I3DTorchScript(NetworkExtractor):
    """StyleGAN-V's i3d_torchscript.pt, which resizes by itself."""

    layers = ("logits",)
    min_frames = 10

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        # rescale would take 0 to 255; return_features gives the 400 numbers before the softmax.
        clips = rearrange(clips, "b t c h w -> b c t h w").contiguous()
        return {"logits": self.network(clips, rescale=False, resize=True, return_features=True)}


class C3DExtractor(NetworkExtractor):
    """C3D as TGAN2 feeds it (pfnet-research/tgan2): squashed to 112x112, blue green red, of 0 to 256."""

    layers = ("fc7", "fc6", "logits")
    min_frames = max_frames = c3d.FRAMES

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        clips = resize_clips(128 * clips.flip(2), c3d.SIZE, align_corners=True) + 128
        return self.network(rearrange(clips, "b t c h w -> b c t h w"))


class C3DTorchScript(NetworkExtractor):
    """StyleGAN-V's c3d_ucf101.pt, which takes 0 to 255 and gives probabilities only; their logarithms are logits."""

    layers = ("logits",)
    min_frames = max_frames = c3d.FRAMES

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        clips = rearrange((clips + 1) * 127.5, "b t c h w -> b c t h w").contiguous()
        probabilities = self.network(clips)
        return {"logits": probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()}
