"""diffusers' prior from a pipeline's folder: the same numbers as there, in one call and in its whole loop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import PriorTransformer, UnCLIPScheduler

import videofusion.conditioning.prior_diffusion as home
from videofusion.diffusion import Conditions, Keys
from videofusion.errors import InputError
from videofusion.interop.priors import load_prior

transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")
PROMPTS = ["a red three", "ab"]


def theirs(folder: Path) -> tuple[PriorTransformer, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The prior, and texts as diffusers' pipelines have it read them: tokens, mask, pooled, of "" and of prompts."""
    prior = PriorTransformer.from_pretrained(folder / "prior").eval()
    text = transformers.CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder").eval()
    words = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    told = words(["", *PROMPTS], padding="max_length", max_length=30, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = text(told["input_ids"])
    return prior, found.last_hidden_state, told["attention_mask"].bool(), found.text_embeds


@torch.no_grad()
def test_one_call_is_theirs(saved_prior: Path) -> None:
    prior, tokens, mask, pooled = theirs(saved_prior)
    ours, text = load_prior(saved_prior)
    found = text.encode_pooled(["", *PROMPTS])
    for mine, wanted in zip(found, (tokens, mask, pooled), strict=True):
        torch.testing.assert_close(mine, wanted)
    z, n = torch.randn(3, 16), torch.tensor([999.0, 400.0, 0.0])
    wanted = prior(z, n, pooled, tokens, mask).predicted_image_embedding
    torch.testing.assert_close(ours(z, n, text=tokens, text_mask=mask, pooled_text=pooled), wanted)
    torch.testing.assert_close(ours.natural(z), prior.post_process_latents(z))
    torch.testing.assert_close(ours.standard(ours.natural(z)), z)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@torch.no_grad()
def test_sampling_is_their_whole_loop(saved_prior: Path, monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    prior, tokens, mask, pooled = theirs(saved_prior)
    scheduler = UnCLIPScheduler.from_pretrained(saved_prior / "scheduler")
    noises = torch.randn(home.TRANSFORMER_STEPS + 1, 2, 16, generator=torch.Generator().manual_seed(0))
    fresh = iter(noises[1:])
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_unclip.randn_tensor", lambda *_, **__: next(fresh)
    )  # theirs takes a generator, ours keys: both are given the same numbers
    # in float32 their 1 - beta and 1 - alpha_bar are off by 5e-4 where either is small, and so is what they sample
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(dim=0)
    scheduler.set_timesteps(home.TRANSFORMER_STEPS)
    z, order = noises[0], [0, 0, 1, 2]
    for i, t in enumerate(scheduler.timesteps):
        both = prior(torch.cat([z, z]), t, pooled[order], tokens[order], mask[order]).predicted_image_embedding
        free, given = both.chunk(2)
        before = scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None
        z = scheduler.step(free + scale * (given - free), t, z, prev_timestep=before).prev_sample
    wanted = prior.post_process_latents(z)

    ours, text = load_prior(saved_prior)
    monkeypatch.setattr(home, "_normal", lambda keys, stream, step, like: noises[step])
    told = home.prior_conditions(Conditions(), text, PROMPTS)
    found = home.sample_prior(ours, told, Keys.of([0, 1]), scale)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)
    assert ours.config.bound == 0.5
    assert float(z.abs().max()) == pytest.approx(0.5, abs=1e-3)  # so the bound was met


def test_names_with_prefix_and_half_precision(saved_prior: Path, tmp_path: Path) -> None:
    for name in ("text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(saved_prior / name, tmp_path / f"prior_{name}")
    PriorTransformer.from_pretrained(saved_prior / "prior").half().save_pretrained(tmp_path / "prior", variant="fp16")
    (tmp_path / "text_encoder").mkdir()  # of the decoder beside it
    half, whole = load_prior(tmp_path)[0], load_prior(saved_prior)[0]
    assert half.dtype == torch.float32
    state = whole.state_dict()
    assert all(torch.equal(value, state[name].half().float()) for name, value in half.state_dict().items())


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("prior", {"_class_name": "UNet2DModel"}, "has a UNet2DModel; it must be a PriorTransformer"),
        ("prior", {"added_emb_type": None}, "has added_emb_type None; it must be 'prd'"),
        ("prior", {"num_embeddings": 77}, "reads tokens 77, but the text encoder beside it gives 30"),
        ("prior", {"embedding_dim": 24}, "reads token embeddings of size 24, but the text encoder .* gives 16"),
        ("prior", {"clip_embed_dim": 24}, "takes embeddings of size 16 and makes some of 24"),
        ("prior", {"embedding_proj_dim": 24}, "reads text embeddings of size 24, but the text encoder .* gives 16"),
        ("prior", {"num_layers": 2}, "the weights lack transformer_blocks.1"),
        ("scheduler", {"prediction_type": "epsilon"}, "prediction_type 'epsilon'; it must be 'sample'"),
        ("scheduler", {"beta_schedule": "linear"}, "beta_schedule 'linear'; it must be 'squaredcos_cap_v2'"),
        ("scheduler", {"num_train_timesteps": 100}, "num_train_timesteps 100; it must be 1000"),
    ],
)
def test_what_does_not_fit_is_refused(
    saved_prior: Path, tmp_path: Path, file: str, changes: dict[str, object], said: str
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(saved_prior, mine)
    path = mine / file / ("config.json" if file == "prior" else "scheduler_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=said):
        load_prior(mine)


def test_what_is_not_there_is_refused(saved_prior: Path, saved_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'prior is ".*"; it must be "transformer", or the folder of a pipeline'):
        load_prior(saved_text)
    mine = tmp_path / "mine"
    shutil.copytree(saved_prior, mine)
    shutil.rmtree(mine / "scheduler")
    with pytest.raises(InputError, match="has no scheduler beside it"):
        load_prior(mine)
    shutil.copytree(saved_prior / "scheduler", mine / "scheduler")
    shutil.rmtree(mine / "text_encoder")
    shutil.copytree(saved_text / "text_encoder", mine / "text_encoder")
    with pytest.raises(InputError, match="is a CLIPTextModel; it must be one of CLIPTextModelWithProjection"):
        load_prior(mine)


def test_a_prior_without_statistics_is_refused(saved_prior: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(saved_prior, mine)
    prior = PriorTransformer.from_pretrained(saved_prior / "prior")
    torch.nn.init.zeros_(prior.clip_std)
    prior.save_pretrained(mine / "prior")
    with pytest.raises(InputError, match="has a clip_std that is not above 0"):
        load_prior(mine)
