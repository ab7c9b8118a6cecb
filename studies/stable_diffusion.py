"""VideoFusion on Stable Diffusion 1.5, planned on paper for GPUs of 24 and 80 GB: `python -m studies.stable_diffusion`.

No weights are needed: of a folder only its configurations count, and `write_sizes` writes those of 1.5.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.stable_diffusion import STABLE_DIFFUSION
from videofusion.training.estimate.gpu_plan import plan_for_gpu

# recipe, what is changed of it, gigabytes of a GPU
WHOLE = {"start.trains": "full", "system.base_rate_ratio": 0.1}
ROWS: list[tuple[str, dict[str, Any], float]] = [
    *((name, {}, 24) for name in STABLE_DIFFUSION),
    ("videofusion-sd-256", {**WHOLE, "batch.size": 16, "batch.accumulation": 2}, 80),
    ("videofusion-sd-512", {**WHOLE, "batch.size": 4, "batch.accumulation": 8}, 80),
]
_WIDTHS = [320, 640, 1280, 1280]
_PARTS: dict[str, dict[str, Any]] = {
    "unet": {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": 8,
        "block_out_channels": _WIDTHS,
        "cross_attention_dim": 768,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "sample_size": 64,
    },
    "vae": {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 4,
        "layers_per_block": 2,
        "scaling_factor": 0.18215,
    },
    "text_encoder": {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
    },
}
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def write_sizes(folder: Path) -> Path:
    """Write a folder with the configurations of Stable Diffusion 1.5, and files of weights that hold none.

    Args:
        folder: new or empty.
    """
    import transformers
    from safetensors.torch import save_file

    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    for name, config in _PARTS.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file({"none": torch.zeros(1)}, folder / name / "model.safetensors")
        index[name] = ["", config.get("_class_name") or config["architectures"][0]]
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(_SCHEDULER), encoding="utf-8")
    letters = [letter + end for letter in map(chr, range(33, 127)) for end in ("", "</w>")]
    vocabulary = {word: i for i, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    words = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    words.save_pretrained(folder / "tokenizer")
    index |= {"tokenizer": ["", "CLIPTokenizer"], "scheduler": ["", "DDIMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def recipe_on(folder: Path, name: str, changes: dict[str, Any]) -> Recipe:
    """A recipe of `ROWS` on a folder."""
    return on_image_model(get_recipe(name), folder).replace(changes)


def main() -> int:
    """Print the plans."""
    with tempfile.TemporaryDirectory() as place:
        folder = write_sizes(Path(place) / "sd")
        for name, changes, gigabytes in ROWS:
            plan = plan_for_gpu(recipe_on(folder, name, changes))
            own = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in changes.items())
            fits = "fits" if plan.fits(gigabytes) else "does not fit"
            print(f"{name} {own}: {fits} {gigabytes:g} GB\n{plan.report(gigabytes)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
