"""LPIPS against a second reading of its formula and against closed forms, at a small part of its width."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from videofusion.cli import main
from videofusion.errors import InputError
from videofusion.evaluation.extractors import load as module
from videofusion.evaluation.extractors import load_extractor, weights
from videofusion.evaluation.extractors.lpips import LEAST, LPIPS, LPIPSExtractor, known_as, public_name

# Convolutions by torchvision's numbers, as (number, stride, padding, pooling before it, whether features are taken).
ALEX = [(0, 4, 2, 0, True), (3, 1, 2, 3, True), (6, 1, 1, 3, True), (8, 1, 1, 0, True), (10, 1, 1, 0, True)]
VGG = [
    (number, 1, 1, 2 if number in (5, 10, 17, 24) else 0, number in (2, 7, 14, 21, 28))
    for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
]


def small(backbone, randomise):
    network = randomise(LPIPS(backbone, width=2))
    for head in network.heads:
        head.abs_()
    return LPIPSExtractor(network, name="lpips", checksum="c", least=LEAST[backbone])


def reference(state, table, one, other):
    """Sums of weighted squared differences, by the names of the public files."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    pair, total, stage = [(x - shift) / scale for x in (one, other)], 0, 0
    for number, stride, padding, pool, taken in table:
        weight, bias = (state[f"features.{number}.{kind}"] for kind in ("weight", "bias"))
        pair = [F.max_pool2d(x, pool, 2) if pool else x for x in pair]
        pair = [F.conv2d(x, weight, bias, stride, padding).relu() for x in pair]
        if taken:
            x, y = (z / z.square().sum(1, keepdim=True).sqrt().clamp(min=1e-10) for z in pair)
            total = total + F.conv2d((x - y).square(), state[f"lin{stage}.model.1.weight"]).mean((1, 2, 3))
            stage += 1
    return total


@pytest.mark.parametrize(("backbone", "table"), [("alex", ALEX), ("vgg", VGG)])
def test_equals_the_formula(backbone, table, randomise):
    extractor = small(backbone, randomise)
    state = {public_name(name): value for name, value in extractor.network.state_dict().items()}
    assert len(state) == 2 * len(table) + 5
    made, real = torch.rand(2, 2, 3, 3, 35, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = extractor.distance(made, real)
    assert found.shape == (2, 3)
    wanted = reference(state, table, made.flatten(0, 1), real.flatten(0, 1)).reshape(2, 3)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(extractor.distance(real, made), found)
    assert extractor.distance(made, made).tolist() == [[0.0] * 3] * 2
    extractor.batch = 1
    torch.testing.assert_close(extractor.distance(made, real), found, rtol=1e-5, atol=1e-8)


def test_one_channel_that_lights_up_and_one_that_does_not():
    """Where the pictures' channels are at right angles, each stage gives the sum of both heads' weights."""
    network = LPIPS("alex", width=2).requires_grad_(False)
    for value in network.parameters():
        value.zero_()
    for stage, head in enumerate(network.heads):
        head[0, :2, 0, 0] = torch.tensor([0.25, 1.0 + stage])
    first, *others = (layer for layer in network.features if isinstance(layer, torch.nn.Conv2d))
    first.weight[0, 0, 5, 5], first.weight[1, 0, 5, 5] = 1, -1  # red brighter than its mean, and darker
    for conv in others:
        for channel in (0, 1):
            conv.weight[channel, channel, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
    extractor = LPIPSExtractor(network, name="lpips", checksum="c", least=31)
    bright, dark = torch.full((1, 1, 3, 64, 64), 0.5), torch.full((1, 1, 3, 64, 64), -0.5)
    assert extractor.distance(bright, dark).item() == pytest.approx(sum(0.25 + 1 + stage for stage in range(5)))
    assert extractor.distance(bright, 1.5 * bright).item() == pytest.approx(0, abs=1e-9)  # length plays no role


def test_clips_that_are_refused(randomise):
    extractor = small("alex", randomise)
    clips = torch.zeros(1, 2, 3, 31, 31)
    assert extractor.distance(clips, clips).shape == (1, 2)
    with pytest.raises(InputError, match="30x31 pixels, but lpips takes at least 31x31"):
        extractor.distance(clips[..., 1:, :], clips[..., 1:, :])
    with pytest.raises(InputError, match="they must be equal"):
        extractor.distance(clips, clips[:, 1:])
    with pytest.raises(InputError, match="reach from nan"):
        extractor.distance(clips * torch.nan, clips)


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Public files of the two networks, 2 channels wide: torchvision's, the heads', the package's."""
    made = {}
    for short in ("alex", "vgg"):
        architecture = weights.Architecture(lambda short=short: LPIPS(short, width=2), public_name, known_as)
        monkeypatch.setitem(weights.ARCHITECTURES, f"lpips-{short}", architecture)
        network = LPIPS(short, width=2).requires_grad_(False)
        for head in network.heads:
            head.uniform_()
        state = {public_name(name): value for name, value in network.state_dict().items()}
        heads = {name: value for name, value in state.items() if name.startswith("lin")}
        backbone = {name: value for name, value in state.items() if name.startswith("features.")}
        package = {name.replace("features.", "net.slice1."): value for name, value in state.items()}
        package |= {name.replace("lin", "lins."): value for name, value in heads.items()}
        made[short] = network
        torch.save(heads, tmp_path / f"{short}.pth")
        torch.save(backbone | {"classifier.1.weight": torch.zeros(2, 2)}, tmp_path / f"{short}-backbone.pth")
        torch.save(package | {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}, tmp_path / f"{short}-package.pth")
    monkeypatch.setattr(module, "LPIPS", lambda short: LPIPS(short, width=2))
    return made


@pytest.mark.parametrize("short", ["alex", "vgg"])
def test_public_files_become_one_and_the_packages_own_is_read_too(short, files, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    words = ["weights", "convert", str(tmp_path / f"{short}-backbone.pth"), str(out)]
    assert main([*words, "--heads", str(tmp_path / f"{short}.pth")]) == 0
    assert f"lpips-{short}" in capsys.readouterr().out
    assert set(load_file(out)) == set(files[short].state_dict())
    for path in (out, tmp_path / f"{short}-package.pth"):
        extractor = load_extractor(f"lpips-{short}", path, device="cpu")
        for name, value in extractor.network.state_dict().items():
            assert torch.equal(value, files[short].state_dict()[name])


def test_wrong_files_are_sentences(files, tmp_path):
    with pytest.raises(InputError, match=r"alex-backbone.pth are not lpips-alex's: 5 are missing .* \(lin0.model.1"):
        load_extractor("lpips-alex", tmp_path / "alex-backbone.pth", device="cpu")
    with pytest.raises(InputError, match=r"vgg.pth are .*missing"):
        load_extractor("lpips-vgg", tmp_path / "vgg.pth", device="cpu")
    with pytest.raises(InputError, match="are lpips-vgg's, not lpips-alex's"):
        load_extractor("lpips-alex", tmp_path / "vgg-package.pth", device="cpu")
    with pytest.raises(InputError, match="takes weights, which are not given: what `videofusion weights convert"):
        load_extractor("lpips-alex", device="cpu")
    state = {public_name(name): value for name, value in files["alex"].state_dict().items()}
    torch.save(state | {"lin2.model.1.weight": -state["lin2.model.1.weight"]}, tmp_path / "negative.pth")
    with pytest.raises(InputError, match="some of its heads are negative"):
        load_extractor("lpips-alex", tmp_path / "negative.pth", device="cpu")


@pytest.mark.peer
@pytest.mark.parametrize("short", ["alex", "vgg"])
@pytest.mark.filterwarnings("ignore")
def test_equals_the_package(short, monkeypatch, tmp_path):
    """Which asks torchvision for two lists of layers only; ours, whose numbers and sizes are tested above, stand in."""
    models = SimpleNamespace(
        alexnet=lambda **_: SimpleNamespace(features=LPIPS("alex").features),
        vgg16=lambda **_: SimpleNamespace(features=LPIPS("vgg").features),
    )
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    lpips = pytest.importorskip("lpips", reason="make prove installs it")
    theirs = lpips.LPIPS(net=short, pretrained=False, verbose=False).eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, value in theirs.named_parameters():
        if name.startswith("lin"):
            value.uniform_()
        else:
            value.normal_(0, (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    extractor = load_extractor(f"lpips-{short}", tmp_path / "theirs.pth", device="cpu")
    made, real = torch.rand(2, 1, 2, 3, 40, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    wanted = theirs(made[0], real[0]).flatten()
    assert (wanted > 0.1).all()
    torch.testing.assert_close(extractor.distance(made, real)[0].float(), wanted, rtol=1e-5, atol=1e-6)
