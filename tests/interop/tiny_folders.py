"""Folders of diffusers and transformers with small random networks, as users have them with large ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LENGTH = 20  # tokens that the text encoders take at once
_LETTERS = [letter + end for letter in map(chr, range(33, 127)) for end in ("", "</w>")]
WORDS = [*_LETTERS, "<|startoftext|>", "<|endoftext|>"]
NOTHING = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def tokenizer() -> Any:
    return transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(WORDS)}, merges=[], model_max_length=LENGTH
    )


def text_encoder(width: int = 32, *, seed: int = 1, projection: int | None = None) -> Any:
    torch.manual_seed(seed)
    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=len(WORDS) - 2,
        eos_token_id=len(WORDS) - 1,
        pad_token_id=len(WORDS) - 1,
        projection_dim=projection or width,
    )
    kind = transformers.CLIPTextModel if projection is None else transformers.CLIPTextModelWithProjection
    return stirred(kind(config))


def stirred(model: Any) -> Any:
    """A network whose norms and biases do something, so that a swap of two of them shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def unet(in_channels: int = 4, width: int = 32, **options: Any) -> Any:
    torch.manual_seed(0)
    return stirred(
        diffusers.UNet2DConditionModel(
            **{
                "sample_size": 8,
                "in_channels": in_channels,
                "block_out_channels": (16, 32),
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
                "layers_per_block": 1,
                "cross_attention_dim": width,
                "attention_head_dim": 4,
                "norm_num_groups": 8,
            }
            | options
        )
    )


def video_unet(width: int = 32, **options: Any) -> Any:
    torch.manual_seed(0)
    return stirred(
        diffusers.UNet3DConditionModel(
            **{
                "sample_size": 8,
                "block_out_channels": (16, 32),
                "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
                "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
                "layers_per_block": 1,
                "cross_attention_dim": width,
                "attention_head_dim": 8,
                "norm_num_groups": 8,
            }
            | options
        )
    )


def xl_unet() -> Any:
    return unet(
        width=48,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=24 + 6 * 256,
    )


def vae(**options: Any) -> Any:
    torch.manual_seed(2)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        sample_size=16,
        **options,
    ).eval()


def save(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder


def sd_pipeline(scheduler: Any = None, **options: Any) -> Any:
    """Stable Diffusion 1.x; options are those of `unet`."""
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=unet(**options),
        scheduler=scheduler
        or diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        **NOTHING,
    )


def modelscope_pipeline(**options: Any) -> Any:
    """ModelScope's text-to-video; options are those of `video_unet`."""
    return diffusers.TextToVideoSDPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=video_unet(**options),
        scheduler=diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    )


def xl_pipeline() -> Any:
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=text_encoder(16),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder(32, seed=3, projection=24),
        tokenizer_2=tokenizer(),
        unet=xl_unet(),
        scheduler=diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    )


def stable_video_unet(**options: Any) -> Any:
    torch.manual_seed(0)
    return stirred(
        diffusers.UNetSpatioTemporalConditionModel(
            **{
                "sample_size": 8,
                "in_channels": 8,
                "out_channels": 4,
                "block_out_channels": (32, 64),
                "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                "layers_per_block": 1,
                "cross_attention_dim": 24,
                "num_attention_heads": (2, 4),
                "num_frames": 5,
            }
            | options
        )
    )


def temporal_vae(**options: Any) -> Any:
    torch.manual_seed(2)
    kinds = ("DownEncoderBlock2D",) * 2
    return stirred(
        diffusers.AutoencoderKLTemporalDecoder(block_out_channels=(32, 32), down_block_types=kinds, **options)
    )


def image_encoder(projection: int = 24, side: int = 224) -> Any:
    torch.manual_seed(4)
    return stirred(
        transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=side,
                patch_size=side // 4,
                projection_dim=projection,
            )
        )
    )


def stable_video_pipeline(**options: Any) -> Any:
    """Stable Video Diffusion; options are those of its U-Net."""
    return diffusers.StableVideoDiffusionPipeline(
        vae=temporal_vae(),
        image_encoder=image_encoder(),
        unet=stable_video_unet(**options),
        scheduler=diffusers.EulerDiscreteScheduler(
            **SCHEDULE,
            prediction_type="v_prediction",
            timestep_type="continuous",
            timestep_spacing="leading",
            steps_offset=1,
            use_karras_sigmas=True,
            sigma_min=0.002,
            sigma_max=700.0,
        ),
        feature_extractor=transformers.CLIPImageProcessor(),
    )


def depth() -> Any:
    """A model that sees depth."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    neck = {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
    config = transformers.DPTConfig(
        **sizes, **neck, image_size=32, patch_size=8, is_hybrid=False, initializer_range=0.5
    )
    return transformers.DPTForDepthEstimation(config)


def pose() -> Any:
    """A model that sees seventeen points of a person."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "part_features": 4}
    backbone = transformers.VitPoseBackboneConfig(image_size=[32, 24], patch_size=[8, 8], out_indices=[1], **sizes)
    return transformers.VitPoseForPoseEstimation(transformers.VitPoseConfig(backbone_config=backbone, num_labels=17))


def segmentation() -> Any:
    """A model that tells a background, cats and dogs."""
    torch.manual_seed(0)
    blocks = {"num_encoder_blocks": 1, "depths": [1], "sr_ratios": [1], "patch_sizes": [3], "strides": [2]}
    sizes = {"hidden_sizes": [8], "num_attention_heads": [1], "mlp_ratios": [1], "decoder_hidden_size": 8}
    labels = {0: "Background", 1: "cat", 2: "dog"}
    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(**blocks, **sizes, id2label=labels)
    )


def save_seer(model: Any, folder: Path, **told: Any) -> Path:
    """Such a model's folder, with what its image processor says."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32} | told))
    return folder
