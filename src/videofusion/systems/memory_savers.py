"""What saves a pipeline's memory, by the names that diffusers' users know."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from diffusers import DiffusionPipeline
from torch import nn

from videofusion.errors import InputError
from videofusion.networks.autoencoder import TILE, Latents, Pixels, space_of


class MemorySavers(DiffusionPipeline):  # type: ignore[misc]
    """A pipeline whose autoencoder takes frames in parts, and whose parts may wait off the accelerator."""

    vae: nn.Module | None = None
    _chunk: int | None = None
    _tile: int | None = None

    @property
    def text(self) -> Any:
        """The text encoder."""
        raise NotImplementedError

    @property
    def space(self) -> Pixels | Latents:
        """Where clips live while they are made."""
        return space_of(self.vae, self._chunk, self._tile)

    @property
    def where(self) -> torch.device:
        """Where clips are made; parts that are offloaded come there when their turn comes."""
        device: torch.device = self._offload_device if getattr(self, "_all_hooks", None) else self.text.device
        return device

    def enable_vae_tiling(self, tile: int = TILE) -> None:
        """Have frames go through the autoencoder in tiles where they are larger; without it, above 1024x1024 pixels.

        Args:
            tile: pixels along a side; see `Latents`.

        Raises:
            InputError: a model in pixels, or a tile that its autoencoder does not take.
        """
        space_of(self._autoencoder("enable_vae_tiling"), tile=tile)  # refuses what cannot be
        self._tile = tile

    def disable_vae_tiling(self) -> None:
        """Have tiles for frames above 1024x1024 pixels only."""
        self._tile = None

    def enable_vae_slicing(self) -> None:
        """Have one frame at a time go through the autoencoder, small ones too; raises InputError for one in pixels."""
        self._autoencoder("enable_vae_slicing")
        self._chunk = 1

    def disable_vae_slicing(self) -> None:
        """Have as many frames at a time as `Latents` finds room for."""
        self._chunk = None

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Keep each part in the CPU's memory until it is called, for image models' systems without training.

        Args:
            gpu_id: of the accelerator.
            device: likewise; the one there is by default.

        Raises:
            InputError: a trained system.
            RuntimeError: there is no accelerator (diffusers).
        """
        if self.model_cpu_offload_seq is None:
            raise InputError(
                f"enable_model_cpu_offload is for image models without training, this is a {type(self).__name__}; load "
                'it with precision="bfloat16" or, if its networks take turns, low_memory=True (--precision, '
                "--low-memory)"
            )
        super().enable_model_cpu_offload(gpu_id, device)

    def enable_sequential_cpu_offload(self, *_: Any, **__: Any) -> NoReturn:
        """Raise InputError: layers do not wait one by one."""
        raise InputError(
            "enable_sequential_cpu_offload is not supported; use enable_model_cpu_offload, or load the model with "
            'precision="bfloat16" (--precision)'
        )

    def enable_attention_slicing(self, *_: Any, **__: Any) -> NoReturn:
        """Raise InputError: attention is fused."""
        raise InputError(
            "enable_attention_slicing has nothing to slice: attention is fused and stores no scores; to need less "
            'memory, make window smaller (--window) or load the model with precision="bfloat16" (--precision)'
        )

    def enable_xformers_memory_efficient_attention(self, *_: Any, **__: Any) -> None:
        """Nothing to do: attention is fused by torch."""

    def _autoencoder(self, name: str) -> nn.Module:
        if self.vae is None:
            raise InputError(f"{name} is for models in latents; this {type(self).__name__} makes pixels")
        return self.vae
