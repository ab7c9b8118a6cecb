"""ModelScope's text-to-video (Wang et al. 2023) and what was trained on it, such as Zeroscope, as they are.

Their network is an image model's with layers over time (`unet3d` of `TEMPORAL_DESIGNS`) and knows no positions of
frames, so that a clip may have any number of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.prompt_encoder import PromptEncoder
from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import read_folder
from videofusion.interop.image_model import load_image_model
from videofusion.systems.plain import PlainPipeline

FRAMES, GUIDANCE = 16, 9.0  # by default, as diffusers' TextToVideoSDPipeline has them


class ModelScopePipeline(PlainPipeline):
    """Text to video by a `UNet3DConditionModel` in the latents of an image model's autoencoder."""

    any_length: ClassVar[bool] = True

    @classmethod
    def from_diffusers(
        cls, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> ModelScopePipeline:
        """The pipeline of a folder that diffusers wrote.

        Args:
            folder: of a `TextToVideoSDPipeline`.
            device: where it computes.
            dtype: of the U-Net.

        Raises:
            InputError: a folder that is no whole model, or one that is shown more than noisy latents.
        """
        facts = read_folder(folder)
        if facts.beside:
            raise InputError(
                f"{facts.folder / 'unet' / 'config.json'} is of a U-Net that takes {' and '.join(facts.beside)} beside "
                "the latents; expected was a model that makes videos of text alone"
            )
        return cls(**load_image_model(folder).parts(device, dtype), frames=FRAMES, guidance=GUIDANCE)

    @property
    def text(self) -> PromptEncoder:
        return PromptEncoder([FrozenText(self.text_encoder, self.tokenizer)])
