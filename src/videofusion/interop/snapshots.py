"""Models of others by the name that a user has for them: a folder, or "owner/name" on the Hugging Face Hub.

What was downloaded once is read from the Hub's own cache without asking for news, so that a model stays the same and
needs no network. `revision` names another state of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from videofusion.errors import InputError, require
from videofusion.files import PICKLES

# Folders of a pipeline that are read; safety checkers and the like are left where they are.
_TEXTS = tuple(f"{name}{end}" for name in ("text_encoder", "tokenizer") for end in ("", "_2", "_3"))
PARTS = ("unet", "transformer", "vae", "scheduler", *_TEXTS, "image_encoder", "feature_extractor")
_NETWORKS = ("unet", "transformer", "vae", *_TEXTS[:3], "image_encoder")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FACTS = (".json", ".txt", ".model")


def is_name(path: str | Path) -> bool:
    """Whether it has the form of a name on the Hub."""
    return _NAME.fullmatch(str(path)) is not None


def find_model(path: str | Path, *, revision: str | None = None, cache: Path | None = None) -> Path:
    """The folder of a model.

    Args:
        path: itself; or a name on the Hub, whose model is taken from the cache or downloaded: configurations,
            tokenizers and safetensors of the parts that are read, in half precision where there is nothing else.
        revision: branch, tag or commit of a model on the Hub; "main" when None.
        cache: folder of downloads; the Hub's own when None.

    Raises:
        InputError: neither a folder nor a name; the Hub has no such model, none in safetensors, or cannot be reached.
    """
    folder = Path(path).expanduser()
    if folder.exists():
        return folder
    name = str(path)
    if not is_name(name):
        raise InputError(
            f'there is no folder "{name}"; expected was one, or a name "owner/model" on the Hugging Face Hub'
        )
    found = _cached(name, revision, cache)
    return _download(name, revision, cache) if found is None else found


def find_configurations(name: str, *, cache: Path | None = None) -> Path:
    """The folder of a model's configurations and tokenizers, without its weights; see `find_model`.

    Args:
        name: on the Hub.
        cache: folder of downloads; the Hub's own when None.

    Raises:
        InputError: the Hub has no such model, or cannot be reached.
    """
    found = _cached(name, None, cache, weights=False)
    return _download(name, None, cache, weights=False) if found is None else found


def _cached(name: str, revision: str | None, cache: Path | None, *, weights: bool = True) -> Path | None:
    """The folder of a model that was downloaded whole, with its weights or without; None where it was not."""
    hub = require("huggingface_hub", extra="clip")
    try:
        folder = Path(hub.snapshot_download(name, revision=revision, cache_dir=cache, local_files_only=True))
    except FileNotFoundError:
        return None
    return folder if _is_whole(folder, weights) else None


def _is_whole(folder: Path, weights: bool) -> bool:
    from videofusion.interop.diffusers_unet import read_json  # imports torch, which a wrong name has no need of

    if not (folder / "model_index.json").is_file():
        return weights and any(folder.glob("*.safetensors"))
    index = read_json(folder / "model_index.json")
    named = [part for part in PARTS if isinstance(index.get(part), list) and index[part][-1]]
    if "image_encoder" not in named and "feature_extractor" in named:
        named.remove("feature_extractor")  # Stable Diffusion's, which only its safety checker reads
    return all(any((folder / part).glob("*.safetensors" if weights and part in _NETWORKS else "*")) for part in named)


def _download(name: str, revision: str | None, cache: Path | None, *, weights: bool = True) -> Path:
    hub = require("huggingface_hub", extra="clip")
    errors = hub.errors
    try:
        # names only first: of what a repository holds, most is there for other programs
        listed = hub.HfApi().model_info(name, revision=revision).siblings or []
        wanted = wanted_files(name, [each.rfilename for each in listed], weights=weights)
        return Path(hub.snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=wanted))
    except errors.GatedRepoError as error:
        raise InputError(
            f"model {name} is there for those only who accepted its terms; log in to the Hub first"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        what = f"model {name}" if revision is None else f'model {name} of the revision "{revision}"'
        raise InputError(f"the Hugging Face Hub has no {what}, nor is there a folder of that name") from error
    except (OSError, getattr(errors, "HTTPError", OSError)) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"model {name} was not downloaded before, and the Hugging Face Hub cannot be reached ({reason}); expected "
            "was a folder, or a network"
        ) from error


def wanted_files(name: str, files: Iterable[str], *, weights: bool = True) -> list[str]:
    """Which files of a model on the Hub are read.

    Args:
        name: of the model, for errors.
        files: all that there are, with their folders.
        weights: those too.

    Raises:
        InputError: a network of its has pickles only, or no weights at all.
    """
    by_folder: dict[str, list[PurePosixPath]] = {}
    for file in map(PurePosixPath, files):
        by_folder.setdefault(str(file.parent), []).append(file)
    whole = PurePosixPath("model_index.json") in by_folder.get(".", [])
    parts = PARTS if whole else (".",)
    wanted = ["model_index.json"] if whole else []
    for part in parts:
        own = by_folder.get(part, [])
        wanted += [str(file) for file in own if file.suffix in _FACTS]
        if not weights or part not in (*_NETWORKS, ".") or (whole and not own):
            continue
        stored = [file for file in own if file.suffix == ".safetensors" and ".non_ema" not in file.name]
        if not stored:
            pickles = [file.name for file in own if file.suffix in PICKLES]
            there = f"it has only {pickles[0]}, a pickle" if pickles else "it has none"
            what = f"{part} of model {name}" if whole else f"model {name}"
            raise InputError(f"{what} must have its weights as safetensors; {there}")
        plain = [file for file in stored if ".fp16" not in file.name]
        wanted += map(str, plain or stored)
    return wanted
