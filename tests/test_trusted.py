"""Folders of strangers: nothing that they name is run, fetched, or taken memory for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.models import load
from videofusion.parts import WEIGHTS
from videofusion.trusted import PARTS, PIPELINE_BOUNDS, check_own, parts_of

RUNS = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n"


@pytest.fixture
def model(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


NAMED: dict[str, Any] = {
    "a module of its own": ["evil", "Evil"],
    "a module of this package": ["videofusion.__main__", "main"],
    "a function": ["videofusion.networks.unet", "sinusoidal"],
    "a class of that module": ["videofusion.networks.unet", "Level"],
    "a class for another place": ["videofusion.conditioning.text", "WordEncoder"],
    "a class of diffusers": ["diffusers", "DiffusionPipeline"],
    "another way to the class": ["videofusion.networks", "unet.UNet"],
    "capital letters": ["Videofusion.networks.unet", "UNet"],
    "letters that look alike": ["videofusion.networks.unet", "UNеt"],  # the Cyrillic е
    "a space": ["videofusion.networks.unet ", "UNet"],
    "a nested list": [["videofusion.networks.unet", "UNet"]],
    "three of them": ["videofusion.networks.unet", "UNet", "evil"],
    "a list in a list": [["evil"], ["Evil"]],
    "half of nothing": [None, "Evil"],
    "nothing and a half": ["evil", None],
    "a number": 3,
    "a text": "evil.Evil",
    "an object": {"evil": "Evil"},
}


@pytest.mark.parametrize("case", NAMED)
def test_a_part_that_is_in_no_table_is_refused_before_it_is_imported(
    case: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text(RUNS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    change(model / "model_index.json", unet=NAMED[case])
    with pytest.raises(InputError, match=r"as its unet; it must be one of videofusion\.networks\.unet\.UNet"):
        load(model, device="cpu")
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


def test_a_part_of_another_name_is_refused(model: Path) -> None:
    change(model / "model_index.json", helper=["evil", "Evil"])
    with pytest.raises(InputError, match="has the part 'helper', which is not one of"):
        load(model, device="cpu")


@pytest.mark.parametrize("name", ["None.py", "unet/evil.py", "unet/UNET.PY", "text_encoder/deep/er/x.so", "a.pth"])
def test_a_folder_with_a_program_is_refused(name: str, model: Path) -> None:
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_text(RUNS)
    with pytest.raises(InputError, match="is a program; a model folder may hold numbers only"):
        load(model, device="cpu")


def test_a_class_name_of_a_pipeline_may_not_be_a_list(model: Path) -> None:
    change(model / "model_index.json", _class_name=["evil", "Evil"])
    with pytest.raises(InputError, match="which is neither a pipeline of videofusion"):
        load(model, device="cpu")


def test_every_row_of_the_table_is_there() -> None:
    import importlib

    transformers = pytest.importorskip("transformers")
    for rows in PARTS.values():
        for module, name in rows:
            if not hasattr(transformers, name) and module == "transformers":
                continue  # of another version
            assert isinstance(getattr(importlib.import_module(module), name), type)


def test_parts_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    index = {"vae": [None, None], "unet": ["videofusion.networks.unet", "UNet"], "guidance_interval": [0.1, 1.0]}
    assert parts_of(tmp_path, index) == {"unet": ("videofusion.networks.unet", "UNet")}


CONFIGS = {
    "unet": [
        ("blocks", 10**7),
        ("blocks", 0),
        ("blocks", -1),
        ("blocks", "1"),
        ("blocks", True),
        ("blocks", 10**400),
        ("channels", [16] * 10**5),
        ("channels", [10**6, 16]),
        ("channels", [16, [16]]),
        ("channels", 16),
        ("heads", 64),
        ("heads", 3),
        ("groups", 7),
        ("depth", 10**9),
        ("labels", 10**12),
        ("text_size", 10**9),
        ("patch", 10**6),
        ("fps", "yes"),
        ("temporal", 5),
        ("temporal", "../x"),
        ("attention", ["none", "evil"]),
        ("middle_attention", ["none"]),
    ],
    "text_encoder": [
        *[("size", 10**9), ("layers", 10**7), ("heads", 3), ("max_words", 10**9)],
        *[("words", [["a"]]), ("words", [None])],
    ],
    "": [
        ("frames", 10**9),
        ("frames", 2.5e300),
        ("frames", 2.5),
        ("frames", None),
        ("height", [[]]),
        ("width", [8]),
        ("guidance", None),
        ("guidance", True),
        ("height", 10**9),
        ("width", -8),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("guidance_interval", [0, 5]),
        ("guidance_interval", 1),
        ("guidance_skip", 7),
        ("schedule", ["cosine"]),
        ("sampler", {"a": 1}),
    ],
}


@pytest.mark.parametrize(("part", "key", "value"), [(part, *each) for part, all_ in CONFIGS.items() for each in all_])
def test_numbers_that_no_model_has_are_refused(part: str, key: str, value: object, model: Path) -> None:
    path = model / part / ("config.json" if part else "model_index.json")
    change(path, **{key: value})
    with pytest.raises(InputError) as refused:
        load(model, device="cpu")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert str(model) in str(refused.value)


def test_weights_of_another_size_are_refused_before_memory_is_taken(model: Path) -> None:
    change(model / "unet" / "config.json", channels=[8192, 8192], groups=16, heads=16, blocks=8)
    with pytest.raises(InputError, match=r"are missing|has the shape"):  # 100 GB of weights
        load(model, device="cpu")


TEXTS = {
    "nested": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "a key twice": ('{"_class_name": "VDMPipeline", "frames": 3, "frames": 3}', "the key 'frames' twice"),
    "5,000 digits": ('{"frames": ' + "9" * 5000 + "}", "cannot be read"),
    "half a letter": ('{"schedule": "\\ud800"}', "lone surrogate"),
    "no text": (b"\xff\xfe{}", "cannot be read"),
    "a list": ("[]", "holds a list"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_json_that_is_not_read_in_one_way_is_refused(case: str, model: Path) -> None:
    text, reason = TEXTS[case]
    (model / "model_index.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=reason):
        load(model, device="cpu")


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", f"unet/{WEIGHTS}"])
def test_what_is_no_file_is_refused(name: str, model: Path) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        (model / name).unlink()
        make(model / name)
        with pytest.raises(InputError, match=r"not a regular file|without a model_index"):
            load(model, device="cpu")


def test_bounds_are_of_keys_that_there_are(model: Path) -> None:
    import videofusion

    own = {"motion_guidance", "share", "profiles", "context", "context_guidance", "fps", "start"}
    own |= {"first_guidance", "together"}
    for pipeline in (videofusion.VDMPipeline, videofusion.VideoFusionPipeline):
        assert set(PIPELINE_BOUNDS) - own <= set(pipeline.__init__.__annotations__)
    assert check_own(model / "unet" / "config.json", videofusion.UNet)["channels"] == [16, 16]


# What a part of diffusers or transformers may be told.
FOREIGN = [
    ("auto_map", {"AutoModel": "evil.Evil"}, "makes a library run or fetch code"),
    ("attn_implementation", "someone/kernel", "makes a library run or fetch code"),
    ("quantization_config", {"quant_method": "evil"}, "makes a library run or fetch code"),
]


@pytest.mark.parametrize(("key", "value", "reason"), [*FOREIGN, ("layers_per_block", 10**7, "at most")])
def test_an_autoencoder_is_told_no_more_than_numbers(
    key: str, value: object, reason: str, saved_vae: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved_vae, tmp_path / "vae"))
    change(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match=reason):
        load_autoencoder(folder)


def test_an_autoencoder_larger_than_its_file_is_refused(saved_vae: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved_vae, tmp_path / "vae"))
    change(folder / "config.json", block_out_channels=[2**17, 2**17])
    with pytest.raises(InputError, match=r"but its config\.json asks for"):
        load_autoencoder(folder)


@pytest.mark.parametrize(("key", "value", "reason"), [*FOREIGN, ("num_hidden_layers", 10**7, "at most")])
def test_a_text_encoder_is_told_no_more_than_numbers(
    key: str, value: object, reason: str, saved_text: Path, tmp_path: Path
) -> None:
    from videofusion.interop.text_encoders import load_text_encoder

    folder = Path(shutil.copytree(saved_text, tmp_path / "text"))
    change(folder / "text_encoder" / "config.json", **{key: value})
    with pytest.raises(InputError, match=reason):
        load_text_encoder(folder)


def test_a_text_encoder_larger_than_its_file_is_refused(saved_text: Path, tmp_path: Path) -> None:
    from videofusion.interop.text_encoders import load_text_encoder

    folder = Path(shutil.copytree(saved_text, tmp_path / "text"))
    change(folder / "text_encoder" / "config.json", vocab_size=2**24)
    with pytest.raises(InputError, match=r"but its config\.json asks for"):
        load_text_encoder(folder)


def test_a_tokenizer_with_code_is_refused_without_a_question(saved_text: Path, tmp_path: Path) -> None:
    """Without `trust_remote_code=False` transformers asks on stdin, and runs the file after "y"."""
    folder = Path(shutil.copytree(saved_text, tmp_path / "text"))
    (folder / "tokenizer" / "evil.py").write_text(RUNS)
    for name in ("tokenizer_config.json",):
        change(folder / "tokenizer" / name, auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
    code = "import sys, videofusion.interop.text_encoders as t; t.load_text_encoder(sys.argv[1])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], input="y\ny\n", capture_output=True, text=True, env=environment
    )
    assert "Do you wish to run" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("ran"))
    assert done.returncode == 0 or "InputError" in done.stderr


def test_halves_of_weights_are_still_told_by_name(model: Path) -> None:
    path = model / "text_encoder" / WEIGHTS
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if name != "positions.weight"}, path)
    with pytest.raises(InputError, match=r"positions\.weight is one"):
        load(model, device="cpu")
