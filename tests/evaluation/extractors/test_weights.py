"""Weights by public names and by ours, and every wrong file a sentence."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from videofusion.errors import InputError
from videofusion.evaluation.extractors import EXTRACTORS, convert, load_extractor
from videofusion.evaluation.extractors import weights as module
from videofusion.evaluation.extractors.c3d import C3D, CHANNEL_MEAN
from videofusion.evaluation.extractors.c3d import public_name as c3d_name
from videofusion.evaluation.extractors.i3d import I3D, public_name


@pytest.fixture(scope="module")
def public() -> dict[str, torch.Tensor]:
    """As rgb_imagenet.pt holds I3D: public names, a convolution for the logits, no counters of batches."""
    state = I3D().state_dict()
    state["logits.weight"] = state["logits.weight"][..., None, None, None]
    return {public_name(name): value for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def i3d_file(public, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "rgb_imagenet.pt"
    torch.save(public, path)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_i3d_is_read_converted_and_read_again(public, i3d_file, tmp_path):
    out = tmp_path / "new" / "i3d.safetensors"
    assert convert(i3d_file, out, sha256=sha256(i3d_file).upper()) == "i3d"
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    mine = load_file(out)
    assert torch.equal(mine["body.mixed_3b.1.0.norm.bias"], public["Mixed_3b.b1a.bn.bias"])
    first = load_extractor("i3d", i3d_file, device="cpu")
    again = load_extractor("i3d-imagenet", out, device="cpu", sha256=sha256(out))
    assert first.checksum == sha256(i3d_file)
    assert (again.name, again.checksum) == ("i3d-imagenet", sha256(out))
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    # the same weights, but another epsilon is another network
    assert first.network.body.conv1.norm.eps == 1e-5
    assert again.network.body.conv1.norm.eps == 1e-3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"logits.conv3d.bias": torch.zeros(157)},
            r"logits.conv3d.bias has the shape \(157,\), but must have \(400,\)",
        ),
        ({"logits.conv3d.bias": None}, r"1 are missing and 0 unknown \(logits.conv3d.bias is one\)"),
        ({"more": torch.zeros(1)}, r"0 are missing and 1 unknown \(more is one\)"),
        ({"more": 3}, "not a plain state dict"),
    ],
)
def test_other_weights_than_i3ds(public, tmp_path, change, sentence):
    state = {name: value for name, value in (public | change).items() if value is not None}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(InputError, match=sentence):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


class Program:
    """What no file of weights may bring along."""


def test_files_that_are_no_weights(i3d_file, tmp_path):
    out = tmp_path / "out.safetensors"
    torch.save({"a": Program()}, tmp_path / "pickle.pt")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("pickle.pt", "text.pt", "text.safetensors"):
        with pytest.raises(InputError, match=f"{name} cannot be read(?!.*weights_only)"):
            convert(tmp_path / name, out)
    with pytest.raises(InputError, match=r"none of the networks i3d, .*, lpips-vgg \(a is one"):
        convert(tmp_path / "other.safetensors", out)
    with pytest.raises(InputError, match="does not exist"):
        convert(tmp_path / "none.pt", out)
    with pytest.raises(InputError, match=r"have the SHA-256 .*, not 00"):
        convert(i3d_file, out, sha256="00")
    with pytest.raises(InputError, match="must end in"):
        convert(i3d_file, tmp_path / "out.pt")
    with pytest.raises(InputError, match="exists"):
        convert(i3d_file, tmp_path / "text.safetensors")
    assert not out.exists()


def test_c3d_without_a_mean_says_what_it_takes(randomise, monkeypatch, tmp_path):
    small = module.Architecture(lambda: C3D(width=2), c3d_name)
    monkeypatch.setitem(module.ARCHITECTURES, "c3d", small)
    state = randomise(C3D(width=2)).state_dict()
    whole = {c3d_name(name): value for name, value in state.items()}
    assert torch.equal(module.recognise(whole, tmp_path)[1]["mean"], state["mean"])
    del whole["mean"]
    with pytest.warns(UserWarning, match="no mean of the training clips"):
        name, found = module.recognise(whole, tmp_path)
    assert name == "c3d"
    assert torch.equal(found["mean"][:, 3, 5, 7], torch.tensor(CHANNEL_MEAN))
    assert torch.equal(found["conv1a.bias"], state["conv1a.bias"])


def test_another_networks_file_and_unknown_names(i3d_file):
    with pytest.raises(InputError, match="are i3d's, not inception-v3's"):
        load_extractor("inception-v3", i3d_file, device="cpu")
    with pytest.raises(InputError, match=f"must be one of {', '.join(EXTRACTORS)}"):
        load_extractor("i3", i3d_file)


class Scripted(torch.nn.Module):
    """The signature of i3d_torchscript.pt; gives the mean and which flags were up."""

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        flags = torch.tensor([float(rescale), float(resize), float(return_features)])
        return torch.cat([x.mean([2, 3, 4]), flags[None].expand(x.shape[0], 3)], 1)


class ScriptedC3D(torch.nn.Module):
    """Takes one clip, gives probabilities."""

    def forward(self, x: torch.Tensor):
        return torch.softmax(x.mean([2, 3, 4]) / 100, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_runs_by_flag_and_checksum_only(i3d_file, tmp_path):
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(Scripted()).save(path)
    with pytest.raises(InputError, match="a program: allow it with torchscript and sha256"):
        load_extractor("i3d-torchscript", path, sha256=sha256(path), device="cpu")
    with pytest.raises(InputError, match="give the sha256"):
        load_extractor("i3d-torchscript", path, torchscript=True, device="cpu")
    with pytest.raises(InputError, match="have the SHA-256"):
        load_extractor("i3d-torchscript", path, torchscript=True, sha256="00", device="cpu")
    with pytest.raises(InputError, match="are a TorchScript"):
        load_extractor("i3d", path, device="cpu")
    with pytest.raises(InputError, match="not a TorchScript"):
        load_extractor("i3d-torchscript", i3d_file, torchscript=True, sha256=sha256(i3d_file), device="cpu")
    extractor = load_extractor("i3d-torchscript", path, torchscript=True, sha256=sha256(path), device="cpu")
    clips = torch.full((2, 10, 3, 4, 4), 0.5)
    clips[:, :, 2] = -1
    wanted = torch.tensor([0.5, 0.5, -1, 0, 1, 1]).expand(2, 6)  # no rescaling, resized, before the softmax
    torch.testing.assert_close(extractor.features(clips), wanted)
    torch.jit.script(ScriptedC3D()).save(path)
    extractor = load_extractor("c3d-torchscript", path, torchscript=True, sha256=sha256(path), device="cpu")
    logits = extractor.logits(clips.repeat(1, 2, 1, 1, 1)[:, :16])
    torch.testing.assert_close(logits.softmax(1), (torch.tensor([1.9125, 1.9125, 0])).softmax(0).expand(2, 3))
