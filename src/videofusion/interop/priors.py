"""diffusers' `PriorTransformer` from a pipeline's folder (unCLIP, Kandinsky), with the text encoder that it reads."""

from __future__ import annotations

from pathlib import Path

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import check_fit, read_json, read_weights
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.prior import TransformerPrior
from videofusion.trusted import check_foreign

TEXT_KINDS = ("CLIPTextModelWithProjection",)
# What our diffusion over embeddings is; a scheduler may leave out any of them.
_SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "trained_betas": None,
    "thresholding": False,
}
_FIXED = {"added_emb_type": "prd", "encoder_hid_proj_type": "linear", "additional_embeddings": 4}


def load_prior(path: str | Path, *, empty: bool = False) -> tuple[TransformerPrior, FrozenText]:
    """A prior in float32, and the text encoder and tokenizer beside it.

    Args:
        path: folder of a pipeline with `prior`, and `scheduler`, `text_encoder` and `tokenizer`, or these with the
            prefix "prior_".
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: no such folder, another kind of prior, schedule or text encoder, parts that do not fit each other,
            weights that are a pickle or do not fit.
    """
    folder = Path(path).expanduser()
    if not (folder / "prior" / "config.json").is_file():
        raise InputError(
            f'prior is "{path}"; it must be "transformer", or the folder of a pipeline with prior, scheduler, '
            "text_encoder and tokenizer"
        )
    prefix = "prior_" if (folder / "prior_text_encoder").is_dir() else ""
    config = check_foreign(folder / "prior" / "config.json")
    if config.get("_class_name") != "PriorTransformer":
        raise InputError(f"prior {folder} has a {config.get('_class_name')}; it must be a PriorTransformer")
    for key, value in _FIXED.items():
        if config.get(key, value) != value:
            raise InputError(f"prior {folder} has {key} {config[key]!r}; it must be {value!r}")
    sizes = {key: value for key, value in config.items() if not key.startswith("_")}
    bound = _bound(folder, prefix)
    text = load_text_encoder(folder, kinds=TEXT_KINDS, prefix=prefix, empty=empty)
    prior = TransformerPrior(sizes=sizes, bound=bound)
    _check_text(folder, prior, text)
    if not empty:
        weights = {name: value.float() for name, value in read_weights(folder / "prior").items()}
        weights["causal_attention_mask"] = prior.transformer.causal_attention_mask  # which is no weight of theirs
        check_fit(prior.transformer.state_dict(), weights)
        prior.transformer.load_state_dict(weights, assign=True)
        if not bool((prior.transformer.clip_std > 0).all()):
            raise InputError(f"prior {folder} has a clip_std that is not above 0: it was made without statistics")
    return prior.eval(), text


def _bound(folder: Path, prefix: str) -> float | None:
    """The largest size of an entry of the clean embedding, as the scheduler has it."""
    names = [name for name in dict.fromkeys((f"{prefix}scheduler", "scheduler")) if (folder / name).is_dir()]
    if not names:
        raise InputError(f"prior {folder} has no scheduler beside it, which says what the prior predicts")
    told = read_json(folder / names[0] / "scheduler_config.json")
    # their defaults are unCLIP's, but for what it predicts
    for key, value in _SCHEDULER.items():
        own = told.get(key, "epsilon" if key == "prediction_type" else value)
        if own != value:
            raise InputError(f"prior {folder} has a scheduler with {key} {own!r}; it must be {value!r}")
    return float(told.get("clip_sample_range", 1.0)) if told.get("clip_sample", True) else None


def _check_text(folder: Path, prior: TransformerPrior, text: FrozenText) -> None:
    own, theirs = prior.transformer.config, text.model.config
    pooled = own.embedding_proj_dim or own.embedding_dim
    if own.clip_embed_dim not in (None, own.embedding_dim):
        raise InputError(
            f"prior {folder} takes embeddings of size {own.embedding_dim} and makes some of {own.clip_embed_dim}; "
            "both must be the same"
        )
    for what, wanted, found in (
        ("tokens", own.num_embeddings, text.length),
        ("token embeddings of size", own.embedding_dim, text.size),
        ("text embeddings of size", pooled, theirs.projection_dim),
    ):
        if wanted != found:
            raise InputError(f"prior {folder} reads {what} {wanted}, but the text encoder beside it gives {found}")
