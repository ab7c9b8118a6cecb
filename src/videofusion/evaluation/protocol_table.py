"""Published protocols by name, each with its source."""

from __future__ import annotations

from videofusion.domains import domains
from videofusion.errors import InputError
from videofusion.evaluation.metric_table import ADDED, distances
from videofusion.evaluation.protocols import NOT_COMPARABLE, Metric, Preset


def _fvd(extractor: str = "i3d") -> Metric:
    return Metric(name="fvd", kind="frechet", extractor=extractor, layer="logits")


def _fid(name: str, frames: str) -> Metric:
    return Metric(name=name, kind="frechet", extractor="inception-v3", layer="pool", frames=frames)


def _is(name: str, frames: str, splits: int) -> Metric:
    return Metric(
        name=name, kind="inception-score", extractor="inception-v3", layer="logits", frames=frames, splits=splits
    )


_KVD = Metric(name="kvd", kind="kernel", extractor="i3d", layer="logits")
_VIDEO_IS = Metric(name="is", kind="inception-score", extractor="c3d-ucf101", layer="logits")

_TATS_SCRIPT = "github.com/songweige/TATS, scripts/sample_vqgan_transformer_short_videos.py and tats/data.py"
_TATS_DIFFERS = "TATS cuts resized values down to whole bytes; ours stay as they are"
_PREPARED = (
    "clips are expected as the original's tools prepare them, square frames as JPEG of quality 95 by Lanczos; others "
    "are resized here"
)
_VDM = "Ho et al. 2022, Video Diffusion Models"
_TFDS = "how clips are cut from videos (one of each, start at random) and resized"
_VIDEOFUSION = "Luo et al. 2023, VideoFusion, section 4.1: 16 frames of 128x128, the evaluation scripts of earlier work"
_ITS_SCRIPTS = "that the scripts are TATS's (it reports KVD on TATS's data sets)"

_ALL = (
    Preset(
        name="tats",
        source=_TATS_SCRIPT,
        metrics=(_fvd(), _KVD),
        start="window",
        resize="bilinear",
        differs=_TATS_DIFFERS,
    ),
    Preset(
        name="stylegan-v",
        source="github.com/universome/stylegan-v, src/metrics/metric_main.py: fvd2048_16f and isv2048_ucf",
        metrics=(
            _fvd("i3d-torchscript"),
            Metric(name="is", kind="inception-score", extractor="c3d-torchscript", layer="logits"),
        ),
        split="all",
        size=256,
        differs=_PREPARED,
    ),
    Preset(
        name="cd-fvd",
        source="github.com/songweige/content-debiased-fvd, cdfvd/fvd.py and utils/data_utils.py, its I3D",
        metrics=(_fvd(),),
        split="all",
        real_count=None,
        size=256,
        resize="bilinear-antialias",
        differs="it repeats generated clips where they are fewer than 2,048, takes a random window of longer ones, and "
        "cuts resized values down to whole bytes; its VideoMAE-v2 is not here",
    ),
    Preset(
        name="latte",
        source="github.com/Vchitect/Latte, tools/metrics: StyleGAN-V's fvd2048_16f with every third real frame",
        metrics=(_fvd("i3d-torchscript"),),
        split="all",
        real_count=None,
        stride=3,
        size=256,
        differs=_PREPARED + "; of more than 20,480 real videos it takes 20,480",
    ),
    Preset(
        name="vdm-ucf101",
        source=f"{_VDM}, section 4.1: C3D's FID and IS, 10,000 samples, all 13,320 videos",
        metrics=(Metric(name="fid", kind="frechet", extractor="c3d-ucf101", layer="fc7"), _VIDEO_IS),
        split="all",
        count=10_000,
        real_count=10_000,
        size=64,
        assumed=f"the layer of the FID, the number of real clips, {_TFDS}",
    ),
    Preset(
        name="vdm-bair",
        source=f"{_VDM}, section 4.2: 1 frame given, 15 predicted; 100 samples for each of 256 test clips",
        metrics=(_fvd(),),
        split="test",
        count=25_600,
        real_count=256,
        start="first",
        size=64,
        given=1,
        assumed="that the given frame is the video's first, and counts; TATS's file of I3D",
    ),
    Preset(
        name="vdm-k600",
        source=f"{_VDM}, section 4.2: 5 frames given, 11 predicted, 50,000 test videos, the same real windows",
        metrics=(_fvd(), Metric(name="is", kind="inception-score", extractor="i3d", layer="logits")),
        split="test",
        count=50_000,
        real_count=50_000,
        start="first",
        size=64,
        given=5,
        assumed="that REAL holds the windows that were predicted from, that the given frames count, that the IS is "
        "over the 400 classes of i3d, in 10 splits; TATS's file of I3D",
    ),
    *(
        Preset(
            name=name,
            source=f"{_VDM}, section 4.3: 4,096 samples; FID and FVD once against the training set and once against "
            f"the validation set, IS in 1 and in 10 splits; frame skip {stride}",
            metrics=(
                _fvd(),
                _fid("fid-avg", "mean"),
                _is("is-avg-1", "mean", 1),
                _is("is-avg-10", "mean", 10),
                _fid("fid-first", "first"),
                _is("is-first-1", "first", 1),
                _is("is-first-10", "first", 10),
            ),
            split="all",
            count=4096,
            real_count=4096,
            stride=stride,
            size=64,
            assumed=f"layers and files of the networks, the number of real clips, {_TFDS}; its data are not public",
        )
        for name, stride in (("vdm-text", 1), ("vdm-text-skip4", 4))
    ),
    *(
        Preset(
            name=name,
            source=_VIDEOFUSION,
            metrics=metrics,
            start="window",
            stride=stride,
            size=size,
            resize="bilinear",
            assumed=_ITS_SCRIPTS + more,
            differs=_TATS_DIFFERS,
        )
        for name, metrics, stride, size, more in (
            ("videofusion-ucf101", (_fvd(), _VIDEO_IS), 1, 128, "; N of the IS"),
            ("videofusion-ucf101-64", (_fvd(), _VIDEO_IS), 1, 64, "; N of the IS; its 64x64 rows as they are"),
            ("videofusion-sky", (_fvd(), _KVD), 1, 128, ""),
            ("videofusion-taichi", (_fvd(), _KVD), 4, 128, "; every fourth frame, as TATS"),
        )
    ),
    Preset(
        name="magicvideo-zero-shot",
        source="Zhou et al. 2022, MagicVideo, section 4.2: 16 key frames for each text of MSR-VTT's test part or class "
        "of UCF101's validation part, FID and FVD against the test data",
        metrics=(_fvd(), _fid("fid", "all")),
        split="test",
        start="spread",
        size=256,
        assumed="N, the networks and layers, the size, and that key frames are spread evenly over a real video",
    ),
    Preset(
        name="embedded",
        source="docs/evaluation.md: the network for any clips that ships with the package",
        metrics=distances("embedded", "motion", "motion"),
        split="all",
        count=512,
        real_count=512,
        size=64,
        note=NOT_COMPARABLE,
    ),
    *(preset for domain in domains().values() for preset in domain.protocols()),
    Preset(
        name="paired",
        source="docs/evaluation.md: reconstructions and predictions against the real clips of their names",
        metrics=(ADDED["psnr"], ADDED["ssim"]),
        split="all",
        count=256,
        real_count=256,
        start="first",
        paired=True,
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}


def find_preset(name: str) -> Preset:
    """The protocol of a name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f'protocol is "{name}"; it must be one of {", ".join(PRESETS)}')
    return PRESETS[name]
