"""Metrics that work with any protocol: `videofusion evaluate --metrics NAME ...`."""

from __future__ import annotations

from collections.abc import Sequence

from videofusion.domains import domains
from videofusion.errors import InputError, require
from videofusion.evaluation.metrics.means import MEANS
from videofusion.evaluation.protocols import Metric, Preset
from videofusion.registry import knows


def of_frames(extractor: str, layer: str) -> tuple[Metric, ...]:
    """What is measured over the frames of a clip, by a network's features of each."""
    return tuple(
        Metric(name=f"{extractor}-{name}", kind=kind, extractor=extractor, layer=layer)
        for name, kind in (("frame-consistency", "frame-consistency"), ("drift", "content-drift"))
    )


def distances(extractor: str, name: str, layer: str) -> tuple[Metric, ...]:
    """The distances of a network that ships: of frames by themselves ("quality"), and of what happens over time.

    Args:
        extractor: by name.
        name: of the Fréchet distance over time.
        layer: that tells of it.
    """
    return (
        Metric(name="quality", kind="frechet", extractor=extractor, layer="frames", frames="all"),
        Metric(name=name, kind="frechet", extractor=extractor, layer=layer),
        *(
            Metric(name=kind, kind=kind, extractor=extractor, layer=layer)
            for kind in ("kernel", "precision-recall", "density-coverage")
        ),
    )


_FEATURES = {"clip": "embedding", "embedded": "frames"}  # by network, what it tells of a frame

_ALL = (
    Metric(name="clip-similarity", kind="text-similarity", extractor="clip", layer="embedding"),
    *(metric for network, layer in _FEATURES.items() for metric in of_frames(network, layer)),
    Metric(name="clip-diversity", kind="diversity", extractor="clip", layer="embedding", frames="mean"),
    Metric(name="i3d-diversity", kind="diversity", extractor="i3d", layer="logits"),
    Metric(name="embedded-diversity", kind="diversity", extractor="embedded", layer="motion"),
    *(metric for domain in domains().values() for metric in domain.metrics()),
    Metric(name="flicker", kind="flicker"),
    Metric(name="flow-magnitude", kind="flow-magnitude"),
    Metric(name="warping-error", kind="warping-error"),
    Metric(name="psnr", kind="psnr"),
    Metric(name="psnr-of-clip", kind="clip-psnr"),
    Metric(name="ssim", kind="ssim"),
    Metric(name="lpips-alex", kind="lpips", extractor="lpips-alex", layer="perceptual"),
    Metric(name="lpips-vgg", kind="lpips", extractor="lpips-vgg", layer="perceptual"),
)

ADDED = {metric.name: metric for metric in _ALL}


def chosen(preset: Preset, names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, of the protocol or of `ADDED`; all of the protocol for none.

    Raises:
        InputError: there is no such metric, it compares pairs and the protocol has none, or it takes optical flow and
            OpenCV is not installed.
    """
    known = {metric.name: metric for metric in preset.metrics}
    for name in names:
        if name not in known and knows(ADDED, name):
            known[name] = ADDED[name]
        if name not in known:
            own = ", ".join(metric.name for metric in preset.metrics)
            more = ", ".join(name for name, each in ADDED.items() if preset.paired or not each.paired)
            raise InputError(
                f'metrics has "{name}", but the protocol {preset.name} measures {own}; it may also be one of {more}'
            )
        if known[name].paired and not preset.paired:
            raise InputError(
                f"metrics has {name}, which compares each generated clip with the real one of its name, but "
                f"{preset.name} draws them apart; the protocol paired does not"
            )
        if known[name].kind in MEANS and MEANS[known[name].kind].needs == "flow":
            require("cv2", extra="flow")
    return tuple(known[name] for name in dict.fromkeys(names)) or preset.metrics
