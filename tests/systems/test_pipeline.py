"""Laws of the pipelines: seeds, batches, sharing, saving and loading, and the sentences of their refusals."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny import CAPTIONS, FRAMES, MIDDLE, SIZE, WORDS, batch, unet, vdm, videofusion, words
from torch import Tensor

from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prompt import text_conditions
from videofusion.conditioning.text import WordEncoder
from videofusion.diffusion import ClassifierFree, Keys, Known, NetworkDenoiser, make_schedule, times
from videofusion.diffusion.noise import DecomposedNoise
from videofusion.diffusion.samplers import get_sampler
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.systems.decomposed import VARIANTS
from videofusion.systems.vdm import VDMPipeline
from videofusion.systems.videofusion_pipeline import VideoFusionPipeline

OTHERS = [i for i in range(FRAMES) if i != MIDDLE]
PROFILES = [[1.0, 0.1, 0.0], [1.0, 0.5, 0.2], [1.0, 0.9, 0.8]]
KINDS = [*VARIANTS, "vdm"]


def pipeline(kind: str = "corrected"):
    made = vdm() if kind == "vdm" else videofusion(kind, adaptive=0.5, profiles=PROFILES)
    return made.pipeline()


def given(places, clips: int | None = None) -> Known:
    places = tuple(places)
    shape = (len(places), 3, SIZE, SIZE) if clips is None else (clips, len(places), 3, SIZE, SIZE)
    return Known(torch.linspace(-0.9, 0.9, math.prod(shape)).reshape(shape), places)


def make(pipe, prompt=CAPTIONS[:2], **options) -> Tensor:
    return pipe(prompt, **{"steps": 2, "seed": [3, 4], **options})


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_does_not_depend_on_its_batch_or_their_order(kind):
    pipe = pipeline(kind)
    together = make(pipe, CAPTIONS[:3], seed=[3, 4, 5])
    turned = make(pipe, CAPTIONS[2::-1], seed=[5, 4, 3])
    alone = make(pipe, CAPTIONS[1], seed=4)
    assert together.shape == (3, FRAMES, 3, SIZE, SIZE)
    assert alone.shape == (FRAMES, 3, SIZE, SIZE)
    torch.testing.assert_close(turned.flip(0), together, atol=1e-4, rtol=0)
    torch.testing.assert_close(alone, together[1], atol=1e-4, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_one_seed_counts_on():
    pipe = pipeline()
    torch.testing.assert_close(make(pipe, seed=3), make(pipe, seed=[3, 4]), atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["corrected", "vdm"])
def test_a_model_has_a_sampler_of_its_own(kind, tmp_path):
    system = vdm(sampler="ddpm") if kind == "vdm" else videofusion(kind, sampler="ddpm")
    system.pipeline().save_pretrained(tmp_path)
    pipe = load(tmp_path)
    torch.testing.assert_close(make(pipe), make(pipe, sampler="ddpm"), atol=0, rtol=0)
    assert (make(pipe) - make(pipe, sampler="dpm++")).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["corrected", "vdm"])
def test_a_model_has_options_of_sampling_of_its_own(kind, tmp_path):
    new = vdm if kind == "vdm" else partial(videofusion, kind)
    own = {"spacing": "flow", "gamma": 0.4}
    new(sampler="ddpm", sampler_options=own).pipeline().save_pretrained(tmp_path)
    pipe, plain = load(tmp_path), new(sampler="ddpm").pipeline()
    made = make(pipe, steps=3)
    torch.testing.assert_close(made, make(plain, steps=3, sampler_options=own), atol=1e-5, rtol=0)
    assert (made - make(plain, steps=3)).abs().max() > 0.01
    # some in place of the model's; and a sampler that does not read its gamma leaves it
    back = make(pipe, steps=3, sampler_options={"spacing": "trailing", "gamma": 0.0})
    torch.testing.assert_close(back, make(plain, steps=3), atol=1e-5, rtol=0)
    make(pipe, sampler="heun")
    # a folder from before there were any
    file = tmp_path / "model_index.json"
    config = json.loads(file.read_text())
    del config["sampler_options"]
    file.write_text(json.dumps(config))
    torch.testing.assert_close(make(load(tmp_path), steps=3), make(plain, steps=3), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="the sampler 'ddpm' does not read; ddim would"):
        new(sampler="ddpm", sampler_options={"eta": 1.0}).pipeline()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("schedule", "prediction"), [("edm", "v"), ("rectified_flow:3", "flow")])
def test_schedules_that_are_not_the_papers(kind, schedule, prediction):
    """Every system trains on them and samples, with a sampler in angles and one that injects noise."""
    options = {"schedule": schedule, "prediction": prediction, "weighting": prediction}
    system = vdm(**options) if kind == "vdm" else videofusion(kind, **options)
    losses = system.loss(batch(), Keys.of([1, 2, 3, 4]), 0)
    assert losses.per_clip.isfinite().all()
    losses.total.backward()
    pipe = system.pipeline()
    for sampler in ("heun", "ddpm"):
        clips = make(pipe, sampler=sampler, sampler_options={"spacing": "flow"})
        assert clips.isfinite().all()
        assert clips.std() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"spacing": "flow"}, True),
        ({"spacing": "karras"}, True),
        ({"eta": 1.0}, True),
        ({"rescale": 0.7}, True),
        ({"threshold": 0.9}, True),
        ({"eta": 0.0, "rescale": 0.0, "threshold": 0.0, "spacing": "trailing"}, False),
    ],
)
def test_options_of_sampling_reach_the_clips(kind, options, changes):
    pipe = pipeline(kind)
    plain, turned = (make(pipe, steps=3, sampler="ddim", guidance=4.0, sampler_options=o) for o in ({}, options))
    assert ((plain - turned).abs().max() > 1e-3) == changes
    # a clip is the same alone and in its batch: the grid depends on no other
    alone = make(pipe, CAPTIONS[1], seed=4, steps=3, sampler="ddim", guidance=4.0, sampler_options=options)
    torch.testing.assert_close(alone, turned[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", ["framewise", "published"])
@pytest.mark.parametrize("sampler", ["dpm++", "ddpm"])
def test_a_motion_seed_changes_the_other_frames_only(variant, sampler):
    """Content is the base generator's, and that sees the content seed alone, in injected noise too (appendix A)."""
    pipe = pipeline(variant)
    first, second = (make(pipe, seed=3, motion_seed=seed, sampler=sampler) for seed in (10, 20))
    torch.testing.assert_close(first[:, MIDDLE], second[:, MIDDLE], atol=1e-5, rtol=0)
    assert (first - second)[:, OTHERS].abs().amax(dim=(0, 2, 3, 4)).min() > 0.01


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "ddpm", "dpm++sde"])
def test_the_middle_of_an_image_first_clip_is_the_base_generator_s_own_image(sampler):
    """Sampled from the base noise alone, whatever the others' noise and share, injected noise included."""
    pipe = pipeline("image-first")
    schedule, keys = make_schedule("cosine"), Keys.of([3, 4])

    def base_noise(step: int) -> Tensor:
        return DecomposedNoise().draw((2, FRAMES, 3, SIZE, SIZE), keys, step).base

    with torch.no_grad():
        image = get_sampler(sampler)(
            ClassifierFree(NetworkDenoiser(pipe.base, schedule, "v"), 2.0),
            base_noise(0),
            times(schedule, 3),
            schedule=schedule,
            conditions=text_conditions(pipe.text_encoder, CAPTIONS[:2]),
            noise=base_noise,
        ).clamp(-1, 1)
    clips = [
        make(pipe, seed=[3, 4], steps=3, sampler=sampler, **more) for more in ({}, {"motion_seed": 9}, {"motion": 1.0})
    ]
    for clip in clips:
        torch.testing.assert_close(clip[:, MIDDLE], image[:, 0], atol=1e-5, rtol=0)
    for clip in clips[1:]:
        assert (clip - clips[0])[:, OTHERS].abs().amax(dim=(0, 2, 3, 4)).min() > 0.01


def test_a_content_seed_changes_all_frames():
    pipe = pipeline()
    first, second = (make(pipe, seed=seed, motion_seed=10) for seed in (3, 33))
    assert (first - second).abs().amax(dim=(0, 2, 3, 4)).min() > 0.1


def test_motion_is_a_share():
    pipe = pipeline()
    motion = next(each for each in pipe.conditions if isinstance(each, Motion))
    torch.testing.assert_close(motion.share(FRAMES, 1.0), torch.tensor([0.0, 0.1, 1.0, 0.1, 0.0]))
    torch.testing.assert_close(motion.share(FRAMES), torch.tensor([0.5, 0.5, 1.0, 0.5, 0.5]))
    assert not torch.allclose(make(pipe, motion=1.0), make(pipe, motion=0.0), atol=0.01)


def test_the_frames_around_the_middle_one_may_have_a_guidance_of_their_own(tmp_path):
    """Middle frame as of one scale, the others as of another; kept with the model."""
    low, high, both = (
        videofusion("image-first", guidance=scale, motion_guidance=other).pipeline()
        for scale, other in ((1.5, None), (4.0, None), (4.0, 1.5))
    )
    made = make(both)
    torch.testing.assert_close(made[:, MIDDLE], make(high)[:, MIDDLE], atol=1e-5, rtol=0)
    assert (made - make(high)).abs().max() > 1e-3
    # with the base generator's image of that scale they are what that scale makes of it
    torch.testing.assert_close(make(both, guidance=1.5), make(low), atol=1e-5, rtol=0)
    off = videofusion("image-first", guidance=1.0).pipeline()
    torch.testing.assert_close(make(both, guidance=1.0), make(off), atol=1e-5, rtol=0)  # 1 is off, of both
    both.save_pretrained(tmp_path)
    torch.testing.assert_close(make(type(both).from_pretrained(tmp_path)), made, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["image-first", "corrected", "vdm"])
def test_a_model_may_guide_its_clips_at_late_times_only(kind, tmp_path):
    """The middle frame that is made first among them."""
    new = vdm if kind == "vdm" else partial(videofusion, kind)
    always, late, never = (new(guidance=4.0, guidance_interval=(0.0, until)).pipeline() for until in (1.0, 0.6, 0.0))
    torch.testing.assert_close(make(never), make(new(guidance=1.0).pipeline()), atol=1e-5, rtol=0)
    late.save_pretrained(tmp_path)
    made = make(load(tmp_path))
    for other in (always, never):
        assert ((made - make(other)).abs().amax(dim=(0, 2, 3, 4)) > 1e-3).all()  # in every frame


@pytest.mark.parametrize("kind", ["image-first", "corrected", "vdm"])
def test_a_model_may_be_guided_away_from_frames_that_agree_less(kind, tmp_path, capfd):
    """All of its temporal layers skipped is guidance away from single frames; the middle frame made first has none."""
    new = vdm if kind == "vdm" else partial(videofusion, kind)
    plain, third, whole = (new(guidance=3.0, guidance_skip=skip).pipeline() for skip in (0.0, 0.3, 1.0))
    third.save_pretrained(tmp_path)
    made = make(load(tmp_path))
    assert "annotation" not in capfd.readouterr().err  # diffusers warns of what it cannot read
    torch.testing.assert_close(made, make(third), atol=1e-5, rtol=0)
    assert min(float((made - make(other)).abs().max()) for other in (plain, whole)) > 1e-3
    if kind == "image-first":
        torch.testing.assert_close(made[:, MIDDLE], make(plain)[:, MIDDLE], atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"guidance skip is 1\.5"):
        new(guidance_skip=1.5).pipeline()
    with pytest.raises(InputError, match=r"guidance interval is \[0\.5, 2\.0\]"):
        new(guidance_interval=(0.5, 2.0)).pipeline()


def test_only_what_makes_the_middle_frame_first_takes_another_guidance():
    with pytest.raises(InputError, match=r"motion_guidance is 2\.0, but only the variant 'image-first'"):
        videofusion("corrected", motion_guidance=2.0).pipeline()


def test_a_model_has_its_own_guidance(tmp_path):
    pipe = videofusion("image-first", guidance=3.5).pipeline()
    assert torch.equal(make(pipe), make(pipe, guidance=3.5))
    assert not torch.allclose(make(pipe), make(pipe, guidance=2.0), atol=1e-4)
    pipe.save_pretrained(tmp_path)
    assert torch.equal(make(load(tmp_path)), make(pipe))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_guidance_has_one_meaning(guidance):
    """0 follows no prompt, 1 is off."""
    pipe = pipeline()
    first, second = (make(pipe, prompt, guidance=guidance) for prompt in (CAPTIONS[:2], CAPTIONS[2:]))
    assert torch.allclose(first, second, atol=1e-5) == (guidance == 0)


def settings(pipe) -> dict:
    return {key: value for key, value in pipe.config.items() if not key.startswith("_")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_the_same_model(kind, tmp_path):
    pipe = pipeline(kind)
    pipe.save_pretrained(tmp_path)
    again = type(pipe).from_pretrained(tmp_path)
    assert settings(again) == settings(pipe)
    for name, part in pipe.components.items():
        other = again.components[name]
        assert (part is None) == (other is None)
        if part is not None:
            assert part.state_dict().keys() == other.state_dict().keys()
            assert all(torch.equal(value, other.state_dict()[key]) for key, value in part.state_dict().items())
    torch.testing.assert_close(make(again), make(pipe), atol=0, rtol=0)


def test_folders_from_before_the_prior_load(tmp_path):
    pipe = pipeline()  # with settings that are lists, which are no parts
    pipe.save_pretrained(tmp_path)
    path = tmp_path / "model_index.json"
    index = json.loads(path.read_text())
    for name in ("image_encoder", "prior"):
        del index[name]
    path.write_text(json.dumps(index))
    torch.testing.assert_close(make(load(tmp_path, device="cpu")), make(pipe), atol=0, rtol=0)


def test_unknown_words_are_named_with_the_known_ones():
    pipe = pipeline()
    with pytest.warns(UserWarning, match=r"does not know 'purple', 'cow'; the words it knows are: a blue left moving"):
        make(pipe, "a purple cow, a three", seed=1)


def test_of_many_known_words_some_are_told():
    pipe = pipeline()
    pipe.register_modules(text_encoder=WordEncoder(words=[f"w{n:04}" for n in range(1500)], size=16))
    told = pipe.check_prompt("zebra")
    assert told.endswith(" w0198 w0199 ... (1,500 in all)")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prompt": ""}, "prompt is ''; it must have at least one word"),
        ({"prompt": ["a", " ?! "]}, "prompt is ' ?! '; it must have at least one word"),
        ({"prompt": []}, "prompt is an empty list; it must hold at least one text"),
        ({"prompt": "a " * 9}, "prompt has 9 words; this model takes at most 8"),
        ({"frames": 0}, "frames is 0; a clip must have at least 2"),
        ({"frames": 1}, "frames is 1; a clip must have at least 2"),
        ({"frames": 100}, "videofusion.generate(pipe, prompt, frames=100)"),
        ({"height": 9}, "size is 9x8; both must be multiples of 2"),
        ({"width": 0}, "size is 8x0; both must be multiples of 2"),
        ({"motion": 1.1}, "motion is 1.1; it must lie in [0, 1], 0 for still and 1 for free"),
        ({"motion": math.nan}, "motion is nan; it must lie in [0, 1], 0 for still and 1 for free"),
        ({"guidance": -1.0}, "guidance is -1.0; it must be a number of at least 0 (1 is off)"),
        ({"guidance": math.nan}, "guidance is nan; it must be a number of at least 0 (1 is off)"),
        ({"guidance": math.inf}, "guidance is inf; it must be a number of at least 0 (1 is off)"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        (
            {"sampler": "euler"},
            "sampler is 'euler'; it must be one of ddim, angular, ddpm, dpm++, dpm++sde, heun, langevin",
        ),
        ({"seed": [1, 2, 3]}, "seed has 3 entries; it must have one for each of 2 prompts"),
        ({"start": -1}, "start is -1; it must be a frame's number, at least 0"),
        ({"known": given((5, 1))}, "places of known frames are [5, 1]; a clip has 5 frames, numbered from 0"),
        ({"known": given(range(5))}, "and one at least must be left to make"),
        ({"known": given((0,), clips=3)}, "known frames are of 3 clips; they must be of each of 2, or of one"),
        ({"known": given((0,)), "height": 6}, "known frames are 3x8x8; those of the clip are 3x6x8 (c, h, w)"),
        ({"motion_seed": [1]}, "motion_seed has 1 entries; it must have one for each of 2 prompts"),
    ],
)
def test_refusals_are_one_sentence(options, sentence, monkeypatch):
    pipe = pipeline()
    monkeypatch.setattr(pipe.text_encoder, "forward", None)  # refused before any work
    monkeypatch.setattr(pipe.base, "forward", None)
    with pytest.raises(InputError, match=re.escape(sentence)):
        pipe(**{"prompt": CAPTIONS[:2], **options})


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_given_frames_come_out_and_the_others_follow_them(kind, weight):
    pipe = pipeline(kind)
    first = replace(given((0, MIDDLE)), weight=weight)
    other = replace(first, frames=-first.frames)
    made, changed = (make(pipe, known=known) for known in (first, other))
    torch.testing.assert_close(made[:, [0, MIDDLE]], first.frames.expand(2, -1, -1, -1, -1))
    left = [i for i in range(FRAMES) if i not in (0, MIDDLE)]
    if kind != "framewise" or weight > 0:  # frame by frame, the others follow the base noise only
        assert (made - changed)[:, left].abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3
    alone = make(pipe, CAPTIONS[1], seed=4, known=first)
    torch.testing.assert_close(alone, made[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if kind != "image-first"])
def test_guidance_by_given_frames_sees_the_whole_gradient_the_base_generator_s_too(kind):
    """Against a difference quotient: what is stopped in training (eq. 14) would be missing here."""
    pipe, place = pipeline(kind), OTHERS[0]
    denoiser, share = pipe.denoiser(), DecomposedNoise(0.5).shares(1, FRAMES)
    conditions = replace(text_conditions(pipe.text, CAPTIONS[:1]), share=share)
    if kind == "published":
        conditions = replace(conditions, image_embedding=torch.zeros(1, pipe.prior.config.size))
    generator = torch.Generator().manual_seed(0)
    z, way = torch.randn(2, 1, FRAMES, 3, SIZE, SIZE, generator=generator)
    way[:, OTHERS] = 0  # of the base frame alone

    def frame(z: Tensor) -> Tensor:
        return denoiser(z, torch.tensor([0.5]), conditions).x0[:, place].sum()

    (slope,) = torch.autograd.grad(frame(z.requires_grad_()), z)
    quotient = (frame(z + 1e-2 * way) - frame(z - 1e-2 * way)).detach() / 2e-2
    torch.testing.assert_close((slope * way).sum(), quotient, rtol=0.02, atol=1e-3)


def test_a_given_middle_frame_is_used_as_it_is_and_without_one_there_is_a_sentence(monkeypatch):
    pipe = pipeline("image-first")
    monkeypatch.setattr(pipe.base, "forward", None)  # nothing is left for it to make
    assert make(pipe, known=given((MIDDLE,))).isfinite().all()
    with pytest.raises(InputError, match=r"places of known frames are \[0, 1\]; .* number 2 must be among them"):
        make(pipe, known=given((0, 1)))


@pytest.mark.parametrize("kind", ["corrected", "vdm"])
def test_frames_of_equal_numbers_have_equal_noise_in_windows_of_a_longer_video(kind, monkeypatch):
    pipe, drawn = pipeline(kind), []
    source = pipe.noise_source()

    def watched(self, *arguments):
        drawn.append(draw(self, *arguments))
        return drawn[-1]

    draw = type(source).draw
    monkeypatch.setattr(type(source), "draw", watched)
    make(pipe, steps=1)
    make(pipe, steps=1, start=3)
    early, late = drawn
    assert torch.equal(early.residual[:, 3:], late.residual[:, :2])
    assert (early.base is None and late.base is None) if kind == "vdm" else torch.equal(early.base, late.base)
    assert not torch.equal(early.residual[:, :2], late.residual[:, 3:])


def test_motion_needs_a_model_that_was_trained_for_it():
    with pytest.raises(InputError, match=r"motion is 0.5; this model was not trained for it, leave it out"):
        make(videofusion().pipeline(), motion=0.5)
    with pytest.raises(InputError, match=r"motion is 0.5; only VideoFusion models have that knob, leave it out"):
        make(pipeline("vdm"), motion=0.5)


def test_the_published_pipeline_wants_its_parts():
    with pytest.raises(InputError, match="image_encoder or prior is not given; the variant 'published' needs one"):
        VideoFusionPipeline(unet("image"), unet("residual"), words(), variant="published")


def test_an_image_model_makes_one_frame():
    torch.manual_seed(0)
    pipe = VDMPipeline(unet("image"), words().eval(), frames=1, height=SIZE, width=SIZE)
    assert make(pipe).shape == (2, 1, 3, SIZE, SIZE)
    with pytest.raises(InputError, match="frames is 4; this is an image model, it must be 1"):
        make(pipe, frames=4)


@pytest.mark.parametrize("kind", KINDS)
def test_other_lengths_and_sizes(kind):
    clip = make(pipeline(kind), frames=2, height=4, width=12, steps=1)
    assert clip.shape == (2, 2, 3, 4, 12)
    assert clip.isfinite().all()
    assert clip.abs().max() <= 1


def test_every_word_is_listed():
    assert pipeline().check_prompt("a") is None
    message = pipeline().check_prompt("zebra")
    assert message is not None
    assert message.endswith(" ".join(sorted(WORDS)))


class TestFramesPerSecond:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_model_that_is_told_makes_other_clips_at_another_rate(self, kind, tmp_path):
        system = vdm(fps=True) if kind == "vdm" else videofusion(kind, fps=True)
        system.pipeline().save_pretrained(tmp_path)
        pipe = load(tmp_path)
        assert pipe.takes_fps
        slow, fast, any_rate = (make(pipe, fps=fps) for fps in (2.0, 25.0, None))
        for one, other in ((slow, fast), (slow, any_rate), (fast, any_rate)):
            assert (one - other).abs().max() > 1e-3

    def test_one_that_is_told_none_says_so(self):
        with pytest.raises(InputError, match=r"fps is 8\.0; this model was trained at one rate and takes none"):
            make(pipeline(), fps=8.0)

    @pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, 1001.0])
    def test_rates_that_are_none(self, fps):
        with pytest.raises(InputError, match="it must be above 0 and at most 1000"):
            make(vdm(fps=True).pipeline(), fps=fps)

    def test_guidance_keeps_the_rate(self):
        pipe = vdm(fps=True).pipeline()
        # at a scale of 0 only the null condition counts, which leaves out the text and no more
        slow, fast = (make(pipe, fps=fps, guidance=0.0) for fps in (2.0, 25.0))
        assert (slow - fast).abs().max() > 1e-3
