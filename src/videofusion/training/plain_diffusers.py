"""Image networks of ours as Stable Diffusion pipelines of diffusers, which load where this package is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from videofusion.conditioning.prompt_encoder import PromptEncoder
from videofusion.errors import InputError, unknown
from videofusion.interop.diffusers_folder import ENCODERS, VAES
from videofusion.interop.diffusers_schedule import BETAS, PREDICTIONS
from videofusion.networks.inputs import TIME_ID_SIZE
from videofusion.networks.unet import UNet
from videofusion.systems.pipeline import VideoPipeline

_LEVELS = {"none": ("DownBlock2D", "UpBlock2D"), "transformer": ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")}
# What our U-Net may have that diffusers' has not, with the value that it has without.
_OURS: Mapping[str, Any] = {
    "image_size": None,
    "pool_text": False,
    "labels": None,
    "fps": False,
    "patch": 1,
    "context": 0,
    "inputs": [],
}


def plain_pipeline(pipe: VideoPipeline, network: str) -> Any:
    """A pipeline of diffusers that makes the pictures which an image network of ours makes.

    Args:
        pipe: of any system in the latents of an image model's autoencoder, told texts by its text encoder.
        network: the image network by its part's name: "unet", or "base" of VideoFusion; others are left out.

    Raises:
        InputError: no such network; one with layers over time, or with something else that diffusers' U-Net lacks; a
            text encoder, an autoencoder, a schedule or a prediction that diffusers' pipeline does not have.
    """
    import diffusers

    found = {name: part for name, part in pipe.components.items() if isinstance(part, UNet)}
    if network not in found:
        raise unknown("network", network, found)
    _check(found[network], network)
    if type(pipe.vae).__name__ not in VAES:
        kind = "pixels" if pipe.vae is None else f"latents of a {type(pipe.vae).__name__}"
        raise InputError(f"{network} works in {kind}; diffusers' pipelines work in those of {' or '.join(VAES)}")
    if type(pipe.text_encoder).__name__ not in ENCODERS:
        raise InputError(
            f"{network} is told texts by a {type(pipe.text_encoder).__name__}; diffusers' pipelines have "
            f"{' or '.join(ENCODERS)}"
        )
    size = [side // pipe.space.factor for side in (pipe.config.height, pipe.config.width)]
    unet = _unet(found[network], size)
    predicts = pipe.config.base_prediction if network == "base" else pipe.config.prediction
    parts = {"unet": unet, "scheduler": _scheduler(pipe, predicts)}
    parts |= {name: getattr(pipe, name) for name in ("vae", "text_encoder", "tokenizer")}
    if not found[network].config.added_size:
        without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return diffusers.StableDiffusionPipeline(**parts, **without)
    text: Any = pipe.text
    assert isinstance(text, PromptEncoder)  # of XL, whose folder had two
    parts |= {name: getattr(pipe, name) for name in ("text_encoder_2", "tokenizer_2")}
    return diffusers.StableDiffusionXLPipeline(**parts, force_zeros_for_empty_prompt=text.zero_null)


def _check(network: UNet, name: str) -> None:
    """Raise InputError for a network that diffusers' image U-Net is not like."""
    config = network.config
    lost = len(network.state_dict()) - len(network.spatial_state())
    if lost:
        raise InputError(
            f"{name} has {lost} weights of layers over time ({config.temporal}), which diffusers' image U-Net would "
            "lose; an image network can be written, such as VideoFusion's base"
        )
    for option, without in _OURS.items():
        own = getattr(config, option)
        if (list(own) if option == "inputs" else own) != without:
            raise InputError(f"{name} has {option}={own!r}; diffusers' image U-Net has no such thing")
    middle = config.middle_attention or config.attention[-1]
    kinds = {*config.attention, middle}
    if config.text_size is None or not kinds <= _LEVELS.keys() or middle != "transformer":
        raise InputError(
            f"{name} has the attention {', '.join(sorted(kinds))}, in the middle {middle}; diffusers' pipelines have "
            "transformers that read text, in the middle too"
        )


def _unet(network: UNet, size: list[int]) -> nn.Module:
    """An image network as diffusers' U-Net, with the height and width of its latents by default."""
    import diffusers

    config = network.config
    levels = len(config.channels)
    xl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TIME_ID_SIZE,
        "projection_class_embeddings_input_dim": config.added_size,
    }
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(
            sample_size=size[0] if size[0] == size[1] else size,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            block_out_channels=tuple(config.channels),
            down_block_types=tuple(_LEVELS[kind][0] for kind in config.attention),
            up_block_types=tuple(_LEVELS[kind][1] for kind in reversed(config.attention)),
            layers_per_block=config.blocks,
            norm_num_groups=config.groups,
            attention_head_dim=_each(config.heads, levels),  # misnamed there: it is the number of heads
            transformer_layers_per_block=_each(config.depth, levels),
            use_linear_projection=config.linear_projection,
            cross_attention_dim=config.text_size,
            resnet_time_scale_shift="scale_shift" if config.scale_shift else "default",
            **(xl if config.added_size else {}),
        )
    theirs.load_state_dict(network.state_dict(), strict=True, assign=True)
    found: nn.Module = theirs.eval()
    return found


def _each(value: Any, levels: int) -> tuple[int, ...]:
    return (value,) * levels if isinstance(value, int) else tuple(value)


def _scheduler(pipe: VideoPipeline, predicts: str) -> Any:
    """DDIM with a pipeline's schedule, prediction and grid."""
    import diffusers

    config = pipe.config
    name = config.schedule.removesuffix("_zero_snr")
    predictions = {own: theirs for theirs, own in PREDICTIONS.items()}
    if name not in BETAS or predicts not in predictions:
        raise InputError(
            f"the model predicts {predicts} by the schedule {config.schedule}; diffusers' DDIM has "
            f"{' and '.join(predictions)} by {' and '.join(BETAS)}"
        )
    spacing = (config.sampler_options or {}).get("spacing")
    return diffusers.DDIMScheduler(
        beta_start=BETAS[name][0],
        beta_end=BETAS[name][1],
        beta_schedule=name,
        prediction_type=predictions[predicts],
        rescale_betas_zero_snr=config.schedule != name,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing" if spacing in ("trailing", "sd-trailing") else "leading",
    )
