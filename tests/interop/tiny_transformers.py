"""Pipeline folders of diffusers with small random image transformers: PixArt, Stable Diffusion 3, Sana and Flux."""

from __future__ import annotations

from typing import Any

import diffusers
import tiny_folders as tiny
import torch
import transformers
from tokenizers.processors import TemplateProcessing

LETTERS = [chr(i) for i in range(33, 127)]
HEADS = {"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2}
FLOW = diffusers.FlowMatchEulerDiscreteScheduler


def t5_tokenizer() -> Any:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return transformers.T5Tokenizer(vocab=[*special, *((each, -3.0) for each in LETTERS)], extra_ids=0)


def t5(width: int = 32) -> Any:
    torch.manual_seed(5)
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    return tiny.stirred(transformers.T5EncoderModel(config))


def gemma_tokenizer() -> Any:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", "\n", *LETTERS]
    found = transformers.GemmaTokenizer(vocab={word: i for i, word in enumerate(words)})
    found.backend_tokenizer.post_processor = TemplateProcessing(  # as in Gemma's file: an empty text has a token
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", found.bos_token_id)]
    )
    return found


def gemma(width: int = 32) -> Any:
    torch.manual_seed(6)
    config = transformers.Gemma2Config(
        vocab_size=len(gemma_tokenizer()),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=64,
        max_position_embeddings=4096,
    )
    return tiny.stirred(transformers.Gemma2Model(config))


def network(kind: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return tiny.stirred(kind(**{**HEADS, **options}))


def dc_ae() -> Any:
    torch.manual_seed(3)
    levels = {f"{part}_block_out_channels": (8, 8) for part in ("encoder", "decoder")}
    layers = {f"{part}_layers_per_block": (1, 1) for part in ("encoder", "decoder")}
    scales = {f"{part}_qkv_multiscales": ((), ()) for part in ("encoder", "decoder")}
    return diffusers.AutoencoderDC(latent_channels=4, scaling_factor=0.4, **levels, **layers, **scales).eval()


def pixart(*, sigma: bool = False, scheduler: Any = None, **options: Any) -> Any:
    """PixArt-alpha, told sizes as at 1024, or PixArt-Sigma."""
    kind = diffusers.PixArtSigmaPipeline if sigma else diffusers.PixArtAlphaPipeline
    sizes = {
        "in_channels": 4,
        "out_channels": 8,  # noise and a variance
        "attention_head_dim": 12,
        "cross_attention_dim": 24,
        "caption_channels": 32,
        "sample_size": 8,
    }
    # of the size that a pipeline of PixArt-alpha tells of at all
    told = {} if sigma else {"sample_size": 128, "use_additional_conditions": True, "interpolation_scale": 2}
    return kind(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=tiny.vae(scaling_factor=0.13025 if sigma else 0.18215),
        transformer=network(diffusers.PixArtTransformer2DModel, **{**sizes, **told, **options}),
        scheduler=scheduler or diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    )


def sd3(*, t5_too: bool = True, scheduler: Any = None) -> Any:
    net = network(
        diffusers.SD3Transformer2DModel,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=36,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=net,
        scheduler=scheduler or FLOW(shift=3.0),
        vae=tiny.vae(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=tiny.text_encoder(16, projection=16),
        tokenizer=tiny.tokenizer(),
        text_encoder_2=tiny.text_encoder(12, seed=3, projection=20),
        tokenizer_2=tiny.tokenizer(),
        text_encoder_3=t5() if t5_too else None,
        tokenizer_3=t5_tokenizer() if t5_too else None,
    )


def sana(scheduler: Any = None) -> Any:
    net = network(
        diffusers.SanaTransformer2DModel,
        in_channels=4,
        out_channels=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=16,
    )
    return diffusers.SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma(),
        vae=dc_ae(),
        transformer=net,
        scheduler=scheduler or FLOW(shift=3.0),
    )


def flux(scheduler: Any = None, guidance: bool = True) -> Any:
    net = network(
        diffusers.FluxTransformer2DModel,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 2, 2),
        guidance_embeds=guidance,
    )
    return diffusers.FluxPipeline(
        scheduler=scheduler or FLOW(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15),
        vae=tiny.vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=tiny.text_encoder(16),
        tokenizer=tiny.tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=net,
    )


PIPELINES = {"pixart": pixart, "sd3": sd3, "sana": sana, "flux": flux}
