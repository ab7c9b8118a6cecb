"""What systems without training have in common: an image model's parts, and a pipeline that makes clips with them.

A system is a class below `TrainingFreePipeline`: a row of `TEMPORAL_DESIGNS` without weights, where its noise comes
from, and how long clips go through the network a few frames at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videofusion.clip.check import check_clip
from videofusion.conditioning.condition import Condition
from videofusion.conditioning.picture_prompt import PicturePrompt
from videofusion.conditioning.picture_size import PictureSize
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.prompt_encoder import PromptEncoder, TextEncoders
from videofusion.conditioning.structure import edges
from videofusion.diffusion.control import Controlled
from videofusion.diffusion.denoiser import Denoiser, NetworkDenoiser
from videofusion.diffusion.grids import shift_at, shifted
from videofusion.diffusion.noise import IndependentNoise, NoiseSource
from videofusion.diffusion.options import SamplingOptions
from videofusion.diffusion.schedules import Schedule, make_schedule
from videofusion.errors import InputError, unknown
from videofusion.interop.controlnets import load_controlnet
from videofusion.interop.diffusers_folder import DiffusersFolder, read_folder
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.image_model import load_image_model
from videofusion.interop.ip_adapters import add_ip_adapter
from videofusion.networks.controlnet import ControlNet
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.ip_adapter import ImageTokens
from videofusion.networks.unet import UNet
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.prepared import Prepared
from videofusion.systems.saved import PipelineSettings
from videofusion.systems.texts import frozen_texts, transformer_prompts

See = Callable[[Tensor], Tensor]
KINDS = ("edges", "depth", "pose", "maps")  # of structure; of depth and pose a model is given


@dataclass(frozen=True, kw_only=True)
class TrainingFreeSettings(PipelineSettings):
    """What such a pipeline saves.

    Args:
        prediction: what the network predicts.
        zero_null: whether the null condition is zeros in place of the empty prompt (Stable Diffusion XL).
        window: frames that go through the network at once.
        shifts: how the schedule's shift follows the size, see `TransformerFacts`; None where it does not.
    """

    prediction: str = "eps"
    zero_null: bool = False
    window: int = 8
    shifts: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shifts is not None and (len(self.shifts) != 4 or self.shifts[2] >= self.shifts[3]):
            raise InputError(f"shifts are {self.shifts}; they must be two shifts and two growing numbers of patches")


class TrainingFreePipeline(VideoPipeline):
    """Clips by an image model as it is.

    Attributes:
        temporal: row of `TEMPORAL_DESIGNS` without weights of its own.
        frames: of a clip by default.
        guidance: scale by default.
        beside: what the image model may take beside the latents, see `DiffusersFolder`.
        transformers: whether the image model may be a transformer.
        controls: the ControlNets, which are not saved with the pipeline.
        picture: tokens and embedding of a picture beside the prompt, likewise; see `add_picture`.
    """

    PARTS: ClassVar[Mapping[str, Any]] = {
        "unet": UNet | ImageTransformer,
        "text_encoder": nn.Module,
        "tokenizer": Any,
        "vae": nn.Module,
        "text_encoder_2": nn.Module | None,
        "tokenizer_2": Any | None,
        "text_encoder_3": nn.Module | None,
        "tokenizer_3": Any | None,
    }
    Settings: ClassVar[type[PipelineSettings]] = TrainingFreeSettings
    any_length: ClassVar[bool] = True
    temporal: ClassVar[str] = "image"
    frames: ClassVar[int] = 8
    guidance: ClassVar[float] = 7.5
    beside: ClassVar[tuple[tuple[str, ...], ...]] = ((),)
    transformers: ClassVar[bool] = False
    controls: Sequence[ControlNet] = ()
    picture: tuple[ImageTokens, Tensor] | None = None
    model_cpu_offload_seq = "text_encoder->text_encoder_2->text_encoder_3->unet->vae"

    @classmethod
    def from_image_model(
        cls, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> TrainingFreePipeline:
        """The system on an image model.

        Args:
            folder: of its diffusers pipeline.
            device: where it computes.
            dtype: of the network.

        Raises:
            InputError: a folder that is no whole image model, or one for another task.
        """
        facts = read_folder(folder)
        cls._check(facts)
        parts = load_image_model(folder, temporal=cls.temporal).parts(device, dtype)
        of = facts.transformer
        return cls(
            **parts,
            zero_null=facts.zero_null,
            frames=cls.frames,
            guidance=cls.guidance if of is None else of.guidance,
            shifts=None if of is None or of.shifts is None else [*of.shifts],
        )

    @classmethod
    def _check(cls, facts: DiffusersFolder) -> None:
        if facts.transformer is not None and not cls.transformers:
            raise InputError(
                f"{facts.folder} has a {facts.transformer.kind}, whose frames this system cannot have look at each "
                'other; expected was a model with a U-Net, or the system "shared-noise"'
            )
        if facts.beside not in cls.beside:
            takes = " and ".join(facts.beside)
            raise InputError(
                f"{facts.folder / 'unet' / 'config.json'} is of a U-Net that takes {takes or 'nothing'} beside the "
                "latents; expected was a model that makes pictures of text alone"
            )
        if facts.time_ids == 5:
            raise InputError(f"{facts.folder} is the refiner of Stable Diffusion XL; expected was its base model")

    def add_controls(self, folders: Sequence[str | Path]) -> None:
        """Take ControlNets, each of which is shown a structure of its own; raises InputError for those that do not fit.

        Args:
            folders: theirs.
        """
        if not isinstance(self.unet, UNet):
            raise InputError(f"controlnet is {folders[0]}; ControlNets of transformers are not known here")
        nets = [load_controlnet(folder, self.unet) for folder in folders]
        self.controls = [nn.Module.to(net, self.where, self.unet.dtype) for net in nets]

    def add_picture(self, picture: Tensor, adapter: str | Path, image_encoder: str | Path, scale: float = 1.0) -> None:
        """Take a picture as a second prompt, by IP-Adapter (Ye et al. 2023), for all clips that follow.

        Args:
            picture: [3 h w] in [-1, 1]; its middle square is seen.
            adapter: file of a plain IP-Adapter.
            image_encoder: folder of the CLIP image encoder that the adapter was trained with.
            scale: how much the picture counts; 1 is as trained, 0 nothing.

        Raises:
            InputError: files that cannot be read or do not fit; a transformer, ControlNets, or a picture before.
        """
        if not isinstance(self.unet, UNet) or self.controls or self.picture is not None:
            beside = "ControlNets" if self.controls else "a picture" if self.picture else "a transformer"
            raise InputError(f"ip_adapter is {adapter}; it takes a model with a U-Net, and this one has {beside}")
        encoder = load_image_encoder(image_encoder)
        tokens = add_ip_adapter(self.unet, adapter, scale, image_size=encoder.size)
        self.picture = tokens.requires_grad_(False), encoder(picture[None])

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Keep each part in the CPU's memory until it is called; ControlNets, which every step needs, stay where it is.

        Args:
            gpu_id: of the accelerator.
            device: likewise; the one there is by default.
        """
        super().enable_model_cpu_offload(gpu_id, device)
        for net in self.controls:
            net.to(self.where)

    @property
    def text(self) -> TextEncoders:
        if isinstance(self.unet, ImageTransformer):
            return transformer_prompts(self, self.unet)
        encoders = frozen_texts(self)
        xl = bool(self.unet.config.added_size)
        return PromptEncoder(encoders, penultimate=xl, zero_null=self.config.zero_null)

    @property
    def networks(self) -> list[FrameNetwork]:
        return [self.unet]

    @property
    def conditions(self) -> Sequence[Condition]:
        sizes = (PictureSize(self.space.factor),) if self.unet.config.get("added_size") else ()
        return (Prompt(self.text) if self.picture is None else PicturePrompt(self.text, *self.picture), *sizes)

    def denoiser(self) -> Denoiser:
        return NetworkDenoiser(self.unet, make_schedule(self.config.schedule), self.config.prediction)

    def noise_source(self) -> NoiseSource:
        return IndependentNoise()

    def grid(
        self,
        schedule: Schedule,
        steps: int,
        options: SamplingOptions,
        size: tuple[int, int],
        covariance: Tensor | None = None,
    ) -> Tensor:
        found = super().grid(schedule, steps, options, size, covariance)
        if self.config.shifts is None:
            return found
        patches = math.prod(side // self.unet.downscale for side in size)
        return shifted(found, shift_at(patches, *self.config.shifts))

    def windowed(self, denoiser: Denoiser, window: int) -> Denoiser:
        """The denoiser of clips of any length that has so many frames at once go through the network."""
        raise NotImplementedError

    @torch.no_grad()
    def prepare(
        self,
        prompt: str | Sequence[str],
        *,
        structure: Tensor | None = None,
        structure_kind: str | See | Sequence[str | See] = "edges",
        control_scale: float | Sequence[float] = 1.0,
        window: int | None = None,
        **asked: Any,
    ) -> Prepared:
        """Check what is asked for, and bring together what makes it.

        Args:
            prompt: a text, or one for each clip.
            structure: clip whose structure is taken over, [t 3 h w] or [b t 3 h w] in [-1, 1]; a pipeline with
                ControlNets needs one, which says the size and number of frames unless they are asked for; with `start`
                that of the longer video.
            structure_kind: what the ControlNets are shown of it: "edges", "maps" (the clip is what they are shown), or
                what `load_depth` or `load_pose` gave; one, or one for each ControlNet.
            control_scale: how much ControlNets count; 1 is as trained; likewise.
            window: frames that go through the network at once; the pipeline's own by default.
            asked: as in `VideoPipeline.prepare`.

        Raises:
            InputError: anything outside what is said above.
        """
        if (structure is None) == bool(self.controls):
            what = "is not given; the model's ControlNets have" if self.controls else "is given; the model has"
            raise InputError(
                f"structure {what} {'to be shown one' if self.controls else 'no ControlNet to show it to'}"
            )
        pictures: list[Tensor] = []
        if structure is not None:
            structure, asked = self._structure(structure, asked)
            kinds = self._each("structure_kind", structure_kind)
            pictures = [self._seen(kind, structure) for kind in kinds]
        scales = self._each("control_scale", control_scale) if self.controls else []

        def around(denoiser: Denoiser) -> Denoiser:
            if self.controls:
                schedule = make_schedule(self.config.schedule)
                denoiser = Controlled(denoiser, schedule, self.controls, pictures, scales)
            return self.windowed(denoiser, self.config.window if window is None else window)

        return super().prepare(prompt, around=around, **asked)

    def _structure(self, clip: Tensor, asked: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """A clip with structure [b t c h w], and what is asked for with its size."""
        clip = check_clip(clip, name="structure", axes="t c h w" if clip.ndim == 4 else "b t c h w")
        clips = (clip[None] if clip.ndim == 4 else clip).to(self.where).float()
        wanted, start = [asked.get(name) for name in ("frames", "height", "width")], max(0, asked.get("start", 0))
        clips = clips[:, start:]  # of the longer video that the clip is a part of
        if not clips.shape[1]:
            raise InputError(f"start is {start}; structure has no frame from there on")
        found = (clips.shape[1], clips.shape[-2], clips.shape[-1])
        frames, height, width = (own if one is None else one for one, own in zip(wanted, found, strict=True))
        if (height, width) != found[1:] or frames > found[0] or clips.shape[2] != 3:
            raise InputError(
                f"structure has {found[0]} frames of {found[2]}x{found[1]} in {clips.shape[2]} channels; it must have "
                f"the clip's, {frames} of {width}x{height} in 3"
            )
        return clips[:, :frames], {**asked, "frames": frames, "height": height, "width": width}

    def _each(self, name: str, value: Any) -> list[Any]:
        """A value for each ControlNet."""
        values = [value] if isinstance(value, str | float | int) or callable(value) else list(value)
        if len(values) == 1:
            values *= len(self.controls)
        if len(values) != len(self.controls):
            raise InputError(f"{name} has {len(values)} entries; it must have one for each of {len(self.controls)}")
        return values

    def _seen(self, kind: str | See, clips: Tensor) -> Tensor:
        """What a ControlNet is shown of clips, [b t 3 h w] in [-1, 1]."""
        if kind == "maps":
            return clips
        if kind in ("depth", "pose"):
            raise InputError(
                f"structure_kind is {kind!r}, which a model sees; give what load_{kind}(its folder) returns"
            )
        if isinstance(kind, str) and kind != "edges":
            raise unknown("structure_kind", kind, KINDS)
        maps = edges(clips) if isinstance(kind, str) else kind(clips)
        return 2 * maps.expand(-1, -1, 3, -1, -1) - 1
