"""Groups of options that several commands share: the file, the model, and how it samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.cli.options import Force, check_sampling, refuse_existing
from videofusion.generation.rows import OPTIONS, check_file
from videofusion.models import check_precision, find

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How the video is written.

    Args:
        fps: frames per second of the file, and of the scene for models trained at several rates; by default 8, or the
            rate of the video that is given
        scale: enlarge the clip by this whole number; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        force: replace OUT if it exists
    """

    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False
    force: Force = False

    def check(self) -> None:
        """Raise InputError for a rate or a scale that no file has."""
        check_file(self.fps, self.scale)

    def files(self, out: Path, name: str = "output") -> list[Path]:
        """The files of one clip, which can be written: `out`, and its sheet beside it."""
        from videofusion.clip.output import check_output

        asked = [out, out.with_suffix(".png")] if self.sheet else [out]
        files = [check_output(file, name=name) for file in dict.fromkeys(asked)]
        refuse_existing(files, self.force)
        return files

    def enlarged(self, height: int, width: int) -> int:
        """Pixels of the file for each of a clip's."""
        from videofusion.clip import watchable_scale

        return watchable_scale(height, width) if self.scale is None else self.scale


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model, and where it runs.

    Args:
        model: a name that `videofusion models` lists, the folder of a model, or a model of diffusers (Stable Diffusion,
            ModelScope's text-to-video): its folder, or owner/name on the Hugging Face Hub; a Stable Diffusion may also
            be one file of safetensors
        lora: LoRA weights to add to the model: a file, or the run folder that trained them
        lora_scale: their strength; 1 is as trained
        device: cpu, cuda, ...; the fastest available by default
        precision: of the networks: float32, or bfloat16 or float16, which need half the memory and are often faster
    """

    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    lora: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    lora_scale: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    precision: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None

    def check(self) -> None:
        """Raise InputError for a precision or a model that there is not."""
        if self.precision is not None:
            check_precision(self.precision)
        if self.model is not None:
            find(self.model)

    def tuned(self) -> dict[str, Any]:
        """The LoRA weights, as `load` takes them."""
        return {} if self.lora is None else {"lora": str(self.lora), "lora_scale": self.lora_scale}

    def given(self) -> dict[str, Any]:
        """What is given, as a file remembers it: all but the device."""
        told = {name: value for name, value in vars(self).items() if name != "device" and value is not None}
        return told if self.lora is None else told | {"lora": str(self.lora)}


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How clips are sampled.

    Args:
        seed: the same seed gives the same clip
        motion_seed: another one gives the same content other motion
        motion: 0 (the least motion of the training clips) to 1 (the most), for models trained with this knob
        guidance: how closely to follow the prompt; 1 is off; the model's own by default
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; the model's own by default, ddim for methods of
            editing that invert
        steps: sampler steps from noise to a clip; an edit by sdedit takes the part of them that --strength says
        spacing: the sampler's times: trailing, leading, flow, logsnr, karras, sd or sd-trailing; flow is best for few
            steps
        eta: for ddim, 0 to 1: how much of each step's noise is fresh
        gamma: for ddpm and langevin, 0 to 1: low to high variance of the noise
        delta: for langevin, 0 to 1: how much noise each correction replaces
        rescale: 0 to 1: how much of the contrast added by guidance is removed
        threshold: 0 to 1, as 0.995: the quantile of a clip's values that is brought into range; for models in pixels
    """

    seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    guidance: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    spacing: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    eta: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    gamma: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    delta: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    rescale: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    threshold: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None

    def check(self) -> None:
        """Raise InputError for what no model can be sampled with."""
        check_sampling(self.sampler, self.steps, self.guidance, self.motion)

    def settings(self) -> dict[str, Any]:
        """What every pipeline's call takes of them."""
        return {name: value for name, value in vars(self).items() if name not in OPTIONS}

    def given(self) -> dict[str, Any]:
        """The sampler's own options, those that are given."""
        return {name: value for name, value in vars(self).items() if name in OPTIONS and value is not None}


def load_quietly(name: str, **options: Any) -> VideoPipeline:
    """A pipeline, without diffusers' bar for loading, which takes a moment."""
    from diffusers.utils import logging

    from videofusion.models import load

    logging.disable_progress_bar()
    return load(name, **options)


OUTPUT = OutputOptions()
SHIPPED_MODEL = ModelOptions(model="moving-digits", lora_scale=1.0, precision="float32")
REMEMBERED_MODEL = ModelOptions()  # that of the file
NEW_CLIP = SamplerOptions(seed=0)
EDITED_CLIP = SamplerOptions(seed=0, steps=50)
REMEMBERED_CLIP = SamplerOptions()  # the seeds of the file
