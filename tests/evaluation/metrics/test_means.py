"""Means over clips: each metric of the table from clips to a number, with networks that give what a clip holds."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from einops import rearrange

from videofusion.cli.measure import evaluate as command
from videofusion.errors import InputError, RunError
from videofusion.evaluation import measure, tally
from videofusion.evaluation.clip_sets import LiveClips
from videofusion.evaluation.extractors import NetworkExtractor
from videofusion.evaluation.measure import evaluate
from videofusion.evaluation.metric_table import ADDED, chosen
from videofusion.evaluation.metrics.diversity import mean_pairwise
from videofusion.evaluation.metrics.means import LIKE_REAL, MEANS
from videofusion.evaluation.metrics.over_time import content_drift, flicker, frame_consistency
from videofusion.evaluation.metrics.reconstruction import clip_psnr, psnr, ssim
from videofusion.evaluation.protocol_table import PRESETS, find_preset

T, S, N = 3, 12, 8
PRESET = find_preset("paired").changed(count=N, size=S, frames=T)
TEXTS = {"red": [1.0, 0.0, 0.0], "grey": [1.0, 1.0, 1.0]}
CAPTIONS = ["red", "grey"] * (N // 2)


class Colours(NetworkExtractor):
    """Mean colour of frames and clips; of a text its colour; distance, that of the mean colours."""

    layers = ("embedding", "frames", "course", "motion", "logits", "perceptual")

    def _forward(self, clips):
        of_frames = clips.mean((3, 4)) + 1
        frames = rearrange(of_frames, "b t c -> (b t) c")
        course = of_frames.mean(1)
        return {
            "embedding": frames,
            "frames": frames,
            "course": course,
            "motion": course,
            "logits": course,
            "perceptual": frames,
        }

    def text(self, prompts):
        return torch.tensor([TEXTS[prompt] for prompt in prompts])

    def distance(self, made, real):
        return (made - real).mean((3, 4)).square().sum(2)


COLOURS = Colours(torch.nn.Identity(), name="colours", checksum="c")
EXTRACTORS = {metric.extractor: COLOURS for metric in ADDED.values() if metric.extractor}
NAMES = tuple(name for name in ADDED if name not in ("flow-magnitude", "warping-error"))  # as OpenCV is not everywhere


def clips(seed):
    return torch.rand(N, T, 3, S, S, generator=torch.Generator().manual_seed(seed)) * 2 - 1


MADE, REAL = clips(0), clips(1)


def live(tensor, captions=CAPTIONS):
    return LiveClips(lambda i: tensor[i], len(tensor), {}, captions)


def run(names=NAMES, made=MADE, real=REAL, preset=PRESET, *, captions=CAPTIONS, real_captions=CAPTIONS, **options):
    options = {"allow_few": True, "replicates": 20, "batch": 3, **options}
    sets = live(made, captions), live(real, real_captions)
    return evaluate(preset, *sets, EXTRACTORS, metrics=chosen(preset, names), **options)


def test_each_is_the_mean_of_its_function_over_all_clips():
    found = run()
    assert set(found) == set(NAMES)
    colours = rearrange(COLOURS.features(MADE), "(b t) c -> b t c", t=T).double()
    texts = torch.tensor([TEXTS[caption] for caption in CAPTIONS]).double()
    cosines = torch.cosine_similarity(colours, texts[:, None], dim=2)
    groups = [COLOURS.features(MADE, "course")[which::2].double() for which in (0, 1)]
    diversity = sum(map(mean_pairwise, groups)) / 2
    for name, wanted in {
        "psnr": psnr(MADE, REAL, value_range=(-1, 1)),
        "psnr-of-clip": clip_psnr(MADE, REAL, value_range=(-1, 1)),
        "ssim": ssim(MADE, REAL, value_range=(-1, 1)),
        "lpips-alex": COLOURS.distance(MADE, REAL),
        "clip-similarity": cosines,
        "clip-frame-consistency": frame_consistency(colours),
        "clip-drift": content_drift(colours)[:, 1:],
        "flicker": flicker(MADE),
        "clip-diversity": torch.tensor(diversity),
        "i3d-diversity": torch.tensor(diversity),
    }.items():
        each = found[name]
        assert each.value == pytest.approx(wanted.double().mean().item(), rel=1e-6), name
        assert each.interval[0] < each.value < each.interval[1]
        assert each.curve == (pytest.approx(wanted.double().mean(0).tolist(), rel=1e-6) if wanted.ndim == 2 else None)
        assert (each.of_real is None) == ADDED[name].paired
        assert each.held == (0 if ADDED[name].paired else N, N)
    swapped = run(("flicker", "clip-similarity", "clip-diversity"), REAL, MADE)
    for name, each in swapped.items():
        assert each.value == pytest.approx(found[name].of_real, rel=1e-6)


def test_a_clip_that_is_held_keeps_its_condition(monkeypatch):
    monkeypatch.setattr(tally, "_HELD_CLIPS", 5)
    captions = ["red"] * 3 + ["grey"] * 5
    of_caption = torch.cat([MADE[:1]] * 3 + [MADE[1:2]] * 5)  # so only a wrong partner is elsewhere
    found = run(("clip-diversity",), of_caption, captions=captions)["clip-diversity"]
    assert found.value == 0
    assert found.held[1] in (4, 5)
    assert found.of_real > 0


def test_the_interval_is_the_bootstraps_of_clips():
    interval = run(("flicker",), replicates=400)["flicker"].interval
    half = 1.96 * flicker(MADE).std(correction=0).item() / N**0.5
    assert (interval[1] - interval[0]) / 2 == pytest.approx(half, rel=0.15)
    assert run(("flicker",), replicates=0)["flicker"].interval is None


def test_the_batch_changes_nothing():
    whole = run(batch=N)
    for name, each in run(batch=3).items():
        assert each.value == pytest.approx(whole[name].value, rel=1e-6)


def test_frames_that_were_given_are_left_out_of_pairs_only():
    preset = PRESET.changed(given=1)
    real = REAL.clone()
    real[:, 0] = MADE[:, 0]  # they are copies, whose PSNR would be infinite
    found = run(("psnr", "flicker"), real=real, preset=preset)
    assert found["psnr"].curve == pytest.approx(psnr(MADE, REAL, value_range=(-1, 1))[:, 1:].mean(0).tolist())
    assert found["flicker"].value == pytest.approx(flicker(MADE).mean().item())
    with pytest.raises(InputError, match=r"psnr of made clips 0 to 2: frame 0 of 0 equals .*infinite; psnr-of-clip"):
        run(("psnr",), real=real)
    assert run(("psnr-of-clip",), real=real)["psnr-of-clip"].value > 0
    with pytest.raises(InputError, match="clip-psnr of made clips 6 to 7: 7 equals the real one"):
        run(("psnr-of-clip",), real=torch.cat([REAL[:7], MADE[7:]]))


@pytest.mark.parametrize("stop", [5, 14])  # among the real clips, and among the generated ones
def test_what_was_stopped_goes_on_to_the_same_bits(stop, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SAVE_SECONDS", 0.0)
    names = ("flicker", "clip-similarity", "clip-diversity", "ssim")
    whole, asked = run(names, batch=2), []

    def once(i):
        if len(asked) == stop:
            raise RunError("the machine went away")
        asked.append(i)
        return (REAL if len(asked) <= N else MADE)[i]

    options = {"allow_few": True, "replicates": 20, "batch": 2, "state": tmp_path / "s"}
    sides = [LiveClips(once, N, {}, CAPTIONS), live(REAL)]
    if stop < N:
        sides = [live(MADE), LiveClips(once, N, {}, CAPTIONS)]
    else:
        asked.extend(range(N))
    with pytest.raises(RunError, match="went away"):
        evaluate(PRESET, *sides, EXTRACTORS, metrics=chosen(PRESET, names), **options)
    assert run(names, batch=2, state=tmp_path / "s") == whole


def test_real_clips_are_not_read_for_themselves_where_only_pairs_are_compared():
    asked = []
    real = LiveClips(lambda i: asked.append(i) or REAL[i], N, {})
    evaluate(PRESET, live(MADE, ()), real, {}, metrics=chosen(PRESET, ()), allow_few=True)
    assert asked == list(range(N))


def test_captions_that_are_not_there():
    some = ["", *CAPTIONS[1:]]
    with pytest.raises(InputError, match=r"clip-similarity takes a caption .* 1 of 8 have none, among the generated"):
        run(("clip-similarity",), captions=some)
    with pytest.raises(InputError, match=r"clip-diversity takes two .* there are 2, of 1 one clip only, and 1 clips"):
        run(("clip-diversity",), captions=some)
    with pytest.raises(InputError, match="there are 1, of 0 one clip only"):
        run(("clip-diversity",), captions=["red"] * N)
    found = run(("clip-similarity", "clip-diversity", "flicker"), real_captions=())
    assert [each.of_real is None for each in found.values()] == [True, True, False]


def test_what_is_refused():
    one = find_preset("tats").changed(count=N, size=S, frames=1)
    with pytest.raises(InputError, match="have one frame, but flicker takes two or more"):
        run(("flicker",), preset=one)
    with pytest.raises(InputError, match=r"psnr, which compares each generated clip .* tats draws them apart"):
        chosen(one, ("psnr",))
    with pytest.raises(InputError, match="compares pairs, but the clips of tats are none"):
        evaluate(one, live(MADE), live(REAL), {}, metrics=(ADDED["psnr"],), allow_few=True)
    with pytest.raises(InputError, match=r"real clip 0 has the shape \(3, 3, 12, 10\)"):
        run(("ssim",), real=REAL[..., :10])
    with pytest.raises(InputError, match=r"ssim of made clips 0 to 2: the frames are 9x9 pixels; .* at least 11x11"):
        run(("ssim",), MADE[..., :9, :9], REAL[..., :9, :9], PRESET.changed(size=9))
    with pytest.raises(InputError, match="real clip 4 holds values"):
        run(("psnr",), real=torch.where(torch.arange(N)[:, None, None, None, None] == 4, torch.nan, REAL))
    with pytest.raises(InputError, match="over 8 samples, but under 256"):
        run(("psnr",), allow_few=False)
    strange = dataclasses.replace(ADDED["clip-similarity"], extractor="plain")
    plain = NetworkExtractor(torch.nn.Identity(), name="plain", checksum="c")
    plain.layers = ("embedding",)
    with pytest.raises(InputError, match="plain has no text, which clip-similarity takes"):
        evaluate(PRESET, live(MADE), live(REAL), {"plain": plain}, metrics=(strange,), allow_few=True)


def test_the_table_and_its_help():
    assert {metric.kind for metric in ADDED.values()} == {*MEANS, "diversity"}
    assert {mean.better for mean in MEANS.values()} == {"higher", "lower", LIKE_REAL}
    told = " ".join(inspect.getdoc(command).replace(",", " ").replace(";", " ").split())
    assert all(f" {name} " in told for name in ADDED)
    for preset in PRESETS.values():
        own = {metric.name: metric for metric in preset.metrics}
        assert all(own[name] == ADDED[name] for name in own.keys() & ADDED.keys())
        assert chosen(preset, ()) == preset.metrics
