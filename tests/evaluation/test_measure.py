"""An evaluation from clips to numbers, with a network that gives what a clip holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from einops import rearrange

from videofusion.errors import InputError, RunError
from videofusion.evaluation import measure, tally
from videofusion.evaluation.clip_sets import LiveClips
from videofusion.evaluation.extractors import NetworkExtractor
from videofusion.evaluation.measure import evaluate
from videofusion.evaluation.metrics.frechet import feature_distance
from videofusion.evaluation.metrics.inception_score import inception_score
from videofusion.evaluation.metrics.kernel import ClipKernels, polynomial_mmd
from videofusion.evaluation.protocols import Metric, Preset

T, S = 3, 4


class Colours(NetworkExtractor):
    """Mean colour of a clip and of its frames."""

    layers = ("clip", "frames")
    min_frames = 2

    def _forward(self, clips):
        of_frames = clips.mean((3, 4))
        return {"clip": 4 * of_frames.mean(1), "frames": rearrange(of_frames, "b t c -> (b t) c")}


def metric(name, kind, layer="clip", frames="clip", splits=3):
    return Metric(name=name, kind=kind, extractor="colours", layer=layer, frames=frames, splits=splits)


METRICS = (
    metric("fvd", "frechet"),
    metric("fid", "frechet", "frames", "all"),
    metric("fid-mean", "frechet", "frames", "mean"),
    metric("fid-first", "frechet", "frames", "first"),
    metric("kvd", "kernel"),
    metric("is", "inception-score"),
    metric("kid", "kernel", "frames", "all"),
    metric("pr", "precision-recall"),
    metric("dc", "density-coverage"),
)
PRESET = Preset(name="mine", source="here", metrics=METRICS, count=20, real_count=24, frames=T, size=S)
EXTRACTORS = {"colours": Colours(torch.nn.Identity(), name="colours", checksum="c")}


def clips(count, seed, spread=0.5):
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(count, T, 3, S, S, generator=random) * spread).clamp(-1, 1)


def live(tensor):
    return LiveClips(lambda i: tensor[i], len(tensor), {"model": "none"})


MADE, REAL = clips(20, 0), clips(24, 1, 0.4)


def run(made=MADE, real=REAL, preset=PRESET, **options):
    options = {"allow_few": True, "replicates": 4, "batch": 8, **options}
    return evaluate(preset, live(made), live(real), EXTRACTORS, **options)


def test_values_are_those_over_all_features():
    found = run()
    (one, frames_one), (two, frames_two) = (EXTRACTORS["colours"].read(each).values() for each in (MADE, REAL))
    one, two, frames_one, frames_two = (each.double().numpy() for each in (one, two, frames_one, frames_two))
    assert found["fvd"].value == pytest.approx(feature_distance(two, one, allow_few=True), rel=1e-9)
    assert found["fid"].value == pytest.approx(feature_distance(frames_two, frames_one, allow_few=True), rel=1e-6)
    each = [rearrange(frames, "(b t) d -> b t d", t=T) for frames in (frames_two, frames_one)]
    means, firsts = [x.mean(1) for x in each], [x[:, 0] for x in each]
    assert found["fid-mean"].value == pytest.approx(feature_distance(*means, allow_few=True), rel=1e-6)
    assert found["fid-first"].value == pytest.approx(feature_distance(*firsts, allow_few=True), rel=1e-6)
    assert found["kvd"].value == pytest.approx(polynomial_mmd(two, one), abs=1e-6)
    of_clips = ClipKernels(*each)
    assert found["kid"].value == pytest.approx(of_clips.distance(*of_clips.clips), abs=1e-6)
    score = inception_score(logits=one, splits=3, allow_few=True)
    assert (found["is"].value, found["is"].deviation) == pytest.approx((score.value, score.deviation))
    assert set(found) == {*(m.name for m in METRICS[:7]), "precision", "recall", "density", "coverage"}


def test_the_batch_changes_nothing_and_the_interval_is_around_the_value():
    one, other = run(batch=5), run(batch=24)
    for name, each in one.items():
        assert each.value == pytest.approx(other[name].value, rel=1e-6)
        if each.interval:
            low, high = each.interval
            assert low < each.value < high
            assert (low + high) / 2 == pytest.approx(each.value)
    assert all(run(replicates=0)[name].interval is None for name in one)
    low, high = one["fvd"].at_infinity_interval
    assert (low + high) / 2 == pytest.approx(one["fvd"].at_infinity)
    assert one["fid"].at_infinity is None


def test_a_spread_of_fewer_clips_than_counted_is_scaled_to_their_number(monkeypatch):
    whole = run(replicates=40)["fvd"]
    monkeypatch.setattr(tally, "_HELD_CLIPS", 12)
    part = run(replicates=40)["fvd"]
    assert (whole.held, part.held) == ((24, 20), (12, 12))
    assert part.value == pytest.approx(whole.value, rel=1e-9)
    width = [each.interval[1] - each.interval[0] for each in (whole, part)]
    assert 0.3 < width[1] / width[0] < 3


def test_a_kernel_distance_of_frames_is_over_more_clips_than_the_spread_of_another(monkeypatch):
    whole = run()
    monkeypatch.setattr(tally, "_HELD_BYTES", 5 * 4 * T * 3)  # five clips of frames
    found = run()
    assert (found["fid"].held, found["kid"].held) == ((5, 5), (24, 20))
    assert found["kid"] == whole["kid"]
    assert found["fid"].value == whole["fid"].value
    monkeypatch.setattr(tally, "_HELD_CLIPS_OF_FRAMES", 12)
    assert run()["kid"].held == (12, 12)
    monkeypatch.setattr(tally, "_HELD_BYTES_OF_FRAMES", 7 * 4 * T * 3)
    assert run()["kid"].held == (7, 7)
    alone = run(metrics=[metric("kid", "kernel", "frames", "all")])
    assert alone["kid"].held == (7, 7)


def test_an_evaluation_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SAVE_SECONDS", 0.0)
    whole = run()
    asked = []

    def broken(stop):
        def make(i):
            if len(asked) == stop:
                raise RunError("the machine went away")
            asked.append(i)
            return MADE[i]

        return LiveClips(make, len(MADE), {})

    options = {"allow_few": True, "replicates": 4, "batch": 8, "state": tmp_path / "s"}
    with pytest.raises(RunError, match="went away"):
        evaluate(PRESET, broken(10), live(REAL), EXTRACTORS, **options)
    assert asked == list(range(10))

    def never(i):
        raise AssertionError("real clips are done")

    asked.clear()
    found = evaluate(PRESET, broken(99), LiveClips(never, len(REAL), {}), EXTRACTORS, **options)
    assert asked == list(range(8, 20))
    assert found == whole


def test_stopped_among_the_real_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SAVE_SECONDS", 0.0)

    def make(i):
        if i == 20:
            raise RunError("the machine went away")
        return REAL[i]

    options = {"allow_few": True, "replicates": 4, "batch": 8, "state": tmp_path / "s"}
    with pytest.raises(RunError, match="went away"):
        evaluate(PRESET, live(MADE), LiveClips(make, len(REAL), {}), EXTRACTORS, **options)
    assert run(state=tmp_path / "s") == run()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3.0])
def test_a_clip_with_a_frame_that_is_no_picture_is_named(wrong):
    spoiled = MADE.clone()
    spoiled[5, 1, 0, 0, 0] = wrong
    with pytest.raises(InputError, match="made clip 5 holds values"):
        run(made=spoiled)


def test_clips_of_another_size_or_length_are_named():
    with pytest.raises(InputError, match=r"real clip 0 has the shape \(3, 3, 5, 5\), but mine takes \(3, 3, 4, 4\)"):
        run(real=torch.zeros(24, T, 3, 5, 5))
    with pytest.raises(InputError, match=r"made clip 0 has the shape \(2, 3, 4, 4\)"):
        run(made=MADE[:, :2])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"allow_few": False}, "over 20 samples, but under 256 it is unreliable"),
        ({"made": MADE[:19]}, "19 generated and 24 real clips, but mine takes 20 and 24"),
        ({"preset": replace(PRESET, frames=1)}, "have 1 frames, but colours takes 2 or more"),
        ({"preset": replace(PRESET, metrics=(replace(METRICS[0], extractor="i3d"),))}, "extractors has no i3d"),
        ({"preset": replace(PRESET, metrics=(replace(METRICS[0], layer="fc9"),))}, "no layer fc9, but clip, frames"),
        ({"preset": replace(PRESET, metrics=(replace(METRICS[0], layer="frames"),))}, "gives 24 rows of frames for 8"),
        ({"preset": replace(PRESET, metrics=(replace(METRICS[5], splits=21),))}, "20 clips, but is takes at least 21"),
        ({"batch": 0}, "batch is 0"),
        ({"replicates": 1}, "replicates 1"),
    ],
)
def test_what_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        run(**options)
