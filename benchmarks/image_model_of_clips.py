"""A small image model in the layout of Stable Diffusion, trained on frames of real clips, for `benchmarks/editing.py`.

    python benchmarks/image_model_of_clips.py begin CLIPS FOLDER --autoencoder TAEF2
    videofusion data encode FOLDER/clips FOLDER/latents --autoencoder FOLDER/model --size 96
    videofusion train vdm-folder64 --base FOLDER/model --data FOLDER/latents --run FOLDER/run --system.... (printed)
    python benchmarks/image_model_of_clips.py end FOLDER

`begin` makes a folder of a random U-Net, a random text encoder that knows the captions' words, and the autoencoder;
`end` puts the trained U-Net into it. CLIPS is a folder of the asl_gestures of intel-iot-devkit/sample-videos, whose
captions are told what each person wears.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
import torch
import transformers

import videofusion as vf
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_unet import read_weights
from videofusion.networks.autoencoder import Latents

SIZE, WIDTH, LENGTH = 96, 64, 20
LOOKS = {
    "a man in a black hoodie": "again brother help no student yes",
    "a man in a grey shirt": "bird milk please sorry thanks",
    "a woman in an orange sweater": "book learn school walk",
    "a man in a black sweater": "eat night sister",
    "a man in a plaid sweater": "hungry want",
}
TRAIN = (
    "--network.temporal image --clips.frames 1 --clips.per-video 32 --batch.size 16 --batch.accumulation 1 "
    "--batch.workers 0 --optimizer.learning-rate 1e-3 --compute.precision float32 "
    "--compute.no-gradient-checkpointing --log.sample-interval 0"
)


def captions() -> dict[str, str]:
    """Of each word that is signed."""
    return {word: f"{look} signing {word}" for look, words in LOOKS.items() for word in words.split()}


def tokenizer(texts: list[str]) -> transformers.CLIPTokenizer:
    """One token for each of the texts' words, letters for all others."""
    letters = [letter + end for letter in map(chr, range(33, 127)) for end in ("", "</w>")]
    words, merges = list(letters), []
    for word in sorted({word for text in texts for word in text.split()}):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[-2], parts[-1])  # from the end, so that no word's beginning is another's merge
            parts[-2:] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                words.append(parts[-1])
    vocabulary = {word: i for i, word in enumerate([*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def begin(clips: Path, out: Path, autoencoder: Path) -> None:
    """Make the folder before training."""
    (out / "clips").mkdir(parents=True)
    rows = []
    for word, text in captions().items():
        (out / "clips" / f"{word}.mkv").symlink_to((clips / f"{word}.mkv").resolve())
        rows.append(json.dumps({"file_name": f"{word}.mkv", "text": text}))
    (out / "clips" / "metadata.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = tokenizer(list(captions().values()))
    count = len(words)
    torch.manual_seed(0)
    encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=count,
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=LENGTH,
            bos_token_id=count - 2,
            eos_token_id=count - 1,
            pad_token_id=count - 1,
        )
    )
    vae = load_autoencoder(autoencoder)
    some = torch.stack([vf.read_clip(file, size=(SIZE, SIZE))[::20][:2] for file in sorted(clips.glob("*.mkv"))])
    std, mean = torch.std_mean(Latents(vae).encode(some), dim=(0, 1, 3, 4))
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // vae.config.factor,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts = {"unet": unet, "text_encoder": encoder, "tokenizer": words, "vae": vae, "scheduler": scheduler}
    index = {"_class_name": "StableDiffusionPipeline"}
    for name, part in parts.items():
        part.save_pretrained(out / "model" / name)
        index[name] = [type(part).__module__.split(".")[0], type(part).__name__]
    (out / "model" / "model_index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    print(f"videofusion data encode {out}/clips {out}/latents --autoencoder {out}/model --size {SIZE}")
    print(f"videofusion train vdm-folder64 --base {out}/model --data {out}/latents --run {out}/run {TRAIN}")


def end(out: Path) -> None:
    """Put the trained U-Net into the folder."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(out / "model" / "unet")
    unet.load_state_dict(read_weights(out / "run" / "model" / "unet"))  # its names are diffusers'
    unet.save_pretrained(out / "model" / "unet")


def main() -> None:
    """Make the folder, or finish it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("begin")
    first.add_argument("clips", type=Path)
    first.add_argument("folder", type=Path)
    first.add_argument("--autoencoder", type=Path, required=True)
    commands.add_parser("end").add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.command == "begin":
        begin(args.clips, args.folder, args.autoencoder)
    else:
        end(args.folder)


if __name__ == "__main__":
    main()
