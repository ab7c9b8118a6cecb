"""Laws of the training step: who learns from what, and what its randomness depends on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, FRAMES, MIDDLE, batch, gradients, keys, select, vdm, videofusion

from videofusion.conditioning import middle_frame
from videofusion.conditioning.condition import Step
from videofusion.conditioning.motion import measured_share
from videofusion.conditioning.prompt import dropped
from videofusion.conditioning.rate import FrameRate
from videofusion.data.batch import Batch
from videofusion.diffusion import Keys
from videofusion.errors import InputError
from videofusion.systems import videofusion as home
from videofusion.systems.decomposed import VARIANTS
from videofusion.systems.grouped_keys import grouped_keys
from videofusion.systems.interface import StepOptions
from videofusion.systems.videofusion import VideoFusionSystem

SYSTEMS = [*((videofusion, {"variant": variant}) for variant in VARIANTS), (vdm, {})]


def names(cases):
    return [options.get("variant", "vdm") for _, options in cases]


def only_the_base_frame(monkeypatch):
    """Take the composite's losses out: what is left is the base generator's own."""
    errors = home.joint_errors

    def own(*arguments):
        base, others = errors(*arguments)
        return base, torch.zeros_like(others)

    monkeypatch.setattr(home, "joint_errors", own)


def base_gradient(system):
    system.loss(batch(), keys(), 1).total.backward()
    return gradients(system.base)


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_stop_gradient_the_base_learns_from_its_own_frame_alone(variant, monkeypatch):
    whole = base_gradient(videofusion(variant))
    only_the_base_frame(monkeypatch)
    assert whole.any()
    assert torch.equal(whole, base_gradient(videofusion(variant)))


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "image-first"])
def test_without_it_the_base_learns_from_all_frames(variant, monkeypatch):
    whole = base_gradient(videofusion(variant, base_loss="joint"))
    only_the_base_frame(monkeypatch)
    assert (whole - base_gradient(videofusion(variant, base_loss="joint"))).abs().max() > 1e-3


def test_an_image_first_base_learns_from_its_own_frame_alone_in_any_case():
    """The others are told the true middle frame, and nothing of what the base generator says."""
    gradients = [base_gradient(videofusion("image-first", base_loss=base_loss)) for base_loss in ("stop", "joint")]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("base_loss", "moves"), [("stop", True), ("joint", True), ("fixed", False)])
def test_a_fixed_base_stays_as_it_was(base_loss, moves):
    system = videofusion(base_loss=base_loss)
    before = [p.detach().clone() for p in system.base.parameters()]
    others = [p.detach().clone() for p in system.residual.parameters()]
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2))
    system.loss(batch(), keys(), 1).total.backward()
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, system.base.parameters(), strict=True)) == moves
    assert any(not torch.equal(a, b) for a, b in zip(others, system.residual.parameters(), strict=True))


def test_rates_of_base_and_others():
    system = videofusion("published", base_rate_ratio=0.25)
    rates = {id(p): group["lr"] for group in system.parameter_groups(2.0) for p in group["params"]}
    for name, part in system.modules.items():
        assert {rates.pop(id(p)) for p in part.parameters()} == {0.5 if name == "base" else 2.0}
    assert not rates


@pytest.mark.parametrize(("make", "options"), SYSTEMS, ids=names(SYSTEMS))
def test_a_clip_s_loss_does_not_depend_on_its_batch(make, options):
    more = {} if make is vdm else {"adaptive": 0.5}
    system = make(**options, **more, caption_dropout=0.3)
    index = [3, 1]
    with torch.no_grad():
        whole = system.loss(batch(), keys(), 7).per_clip
        seeds = Keys.of([keys().content[i] for i in index])
        part = system.loss(select(batch(), index), seeds, 7).per_clip
        later = system.loss(batch(), keys(), 8).per_clip
    torch.testing.assert_close(part, whole[index], atol=1e-5, rtol=1e-5)
    assert (later - whole).abs().min() > 1e-5  # each step has noise of its own


@pytest.mark.parametrize(("make", "options"), SYSTEMS, ids=names(SYSTEMS))
def test_dropped_captions_leave_no_trace(make, options):
    captions, others = batch(), replace(batch(), captions=CAPTIONS[::-1])
    for dropout, same in ((1.0, True), (0.0, False)):
        system = make(**options, caption_dropout=dropout)
        with torch.no_grad():
            first, second = (system.loss(each, keys(), 1).per_clip for each in (captions, others))
        assert torch.allclose(first, second, atol=1e-6) == same


def test_choices_have_the_rates_that_were_asked_for():
    clips = Keys.of(range(4000))
    assert sum(dropped(clips, Step(number=5, frames=(), dropout=0.1))) / 4000 == pytest.approx(0.1, abs=0.02)
    t = StepOptions().times(clips, 5)  # uniform, without its ends
    assert 0 < float(t.min()) < 0.01
    assert 0.99 < float(t.max()) < 1
    assert torch.histc(t, 4, 0, 1).sub(1000).abs().max() < 150


def test_times_whose_logit_is_normal():
    t = StepOptions(time_logit=(1.0, 0.5)).times(Keys.of(range(4000)), 5)
    assert t.logit().mean() == pytest.approx(1.0, abs=0.03)
    assert t.logit().std() == pytest.approx(0.5, abs=0.02)
    extreme = StepOptions(time_logit=(0.0, 50.0)).times(Keys.of(range(4000)), 5)
    assert 0 < float(extreme.min()) < float(extreme.max()) < 1


@pytest.mark.parametrize(("make", "options"), SYSTEMS, ids=names(SYSTEMS))
def test_systems_train_at_the_times_asked_for(make, options):
    """Where there is nearly no noise, even a network that knows nothing is nearly right about the clip."""
    noisy, clean = (make(**options, weighting="x0", time_logit=(mean, 0.01)) for mean in (6.0, -6.0))
    with torch.no_grad():
        losses = [system.loss(batch(), keys(), 1) for system in (noisy, clean)]
    far, near = (loss.total - loss.parts.get("prior", 0) for loss in losses)
    assert near < 0.01 * far


@pytest.mark.parametrize("count", [2, 3, 5, 16])
@pytest.mark.parametrize("few", [2, 3, 6, 15])
def test_chosen_frames_keep_the_middle_in_the_middle(count, few):
    seen = set()
    for step in range(60):
        frames = StepOptions(train_frames=few).frames(count, step)
        assert len(frames) in (min(few, count), count)
        assert frames == sorted(set(frames) & set(range(count)))
        assert frames[len(frames) // 2] == count // 2
        seen |= set(frames)
    assert seen == set(range(count))
    assert StepOptions().frames(count, 1) == list(range(count))


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("few", [None, 2, 4])
@pytest.mark.parametrize("reach", [1, 3, 20])
def test_chosen_frames_are_within_reach_of_the_middle(count, few, reach):
    near = [i for i in range(count) if abs(i - count // 2) <= reach]
    chosen = [StepOptions(train_frames=few, reach=reach).frames(count, step) for step in range(1, 60)]
    assert all(frames[len(frames) // 2] == count // 2 for frames in chosen)
    assert sorted(set().union(*chosen)) == near


def test_the_reach_grows_to_the_whole_clip():
    options = StepOptions(reach=1, reach_share=0.7)
    farthest = [max(abs(i - 8) for i in options.frames(16, step, step / 100)) for step in range(100)]
    assert farthest[0] == 1
    assert farthest == sorted(farthest)
    assert farthest[69] == 7 < farthest[70] == farthest[99] == 8
    assert {farthest.count(reach) for reach in range(1, 8)} == {10}


def told_to_the_denoiser(system, monkeypatch, **about):
    """The conditions that a training step hands to the composite."""
    seen = []
    predict = system.denoiser.predict

    def spy(z, t, conditions, clean, every):
        seen.append(conditions)
        return predict(z, t, conditions, clean)

    monkeypatch.setattr(system.denoiser, "predict", spy)
    with torch.no_grad():
        system.loss(replace(batch(), **about), keys(), 1)
    return seen[0]


def test_adaptive_share_is_measured_from_the_clip(monkeypatch):
    fixed = told_to_the_denoiser(videofusion(adaptive=0.0), monkeypatch).share
    measured = told_to_the_denoiser(videofusion(adaptive=1.0), monkeypatch).share
    assert torch.equal(fixed, videofusion().noise.shares(4, FRAMES))
    assert torch.equal(measured, measured_share(batch().clip))


def test_few_frames_keep_their_numbers_and_shares(monkeypatch):
    conditions = told_to_the_denoiser(videofusion(adaptive=1.0, train_frames=3), monkeypatch)
    frames = StepOptions(train_frames=3).frames(FRAMES, 1)
    assert conditions.frames.tolist() == frames
    assert torch.equal(conditions.share, measured_share(batch().clip)[:, frames])


def test_what_is_shown_of_the_middle_frame_has_a_little_noise(monkeypatch):
    """Of each clip and step its own: what sampling puts there is not perfect."""
    clips, middle = batch(), batch().clip[:, MIDDLE : MIDDLE + 1]
    noise = told_to_the_denoiser(videofusion("image-first"), monkeypatch).middle_frame - middle
    amounts = noise.std(dim=(1, 2, 3, 4))
    assert noise.shape == (len(clips.clip), 1, *clips.clip.shape[2:])
    assert amounts.max() < 1.2 * middle_frame.MIDDLE_NOISE
    assert len(amounts.unique()) == len(amounts)
    assert told_to_the_denoiser(videofusion("corrected"), monkeypatch).middle_frame is None


def test_only_what_is_shown_of_the_middle_frame_has_noise(monkeypatch):
    """The base noise is taken out with the true middle frame, so that what is left is the residual process exactly."""
    system = videofusion("image-first")
    seen = []
    system.residual.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    monkeypatch.setattr(middle_frame, "MIDDLE_NOISE", 0.0)
    quiet = system.loss(batch(), keys(), 1)
    monkeypatch.setattr(middle_frame, "MIDDLE_NOISE", 5.0)
    loud = system.loss(batch(), keys(), 1)
    others = [i for i in range(FRAMES) if i != MIDDLE]
    assert torch.equal(seen[0][:, others, :3], seen[1][:, others, :3])
    assert (seen[0][:, :, 3:] - seen[1][:, :, 3:]).abs().amax(dim=(1, 2, 3, 4)).min() > 0.1
    assert not torch.equal(quiet.per_clip, loud.per_clip)


def test_an_image_first_residual_generator_learns_the_same_beside_a_fixed_base():
    """There the base is not asked at all."""
    whole, alone = videofusion("image-first"), videofusion("image-first", base_loss="fixed")
    alone.base.register_forward_pre_hook(lambda *_: pytest.fail("the base was asked"))
    for system in (whole, alone):
        system.loss(batch(), keys(), 1).total.backward()
    assert gradients(alone.residual).any()
    assert torch.equal(gradients(alone.residual), gradients(whole.residual))


@pytest.mark.parametrize("make", [videofusion, vdm])
def test_a_text_encoder_that_is_not_trained_stays_as_it_was(make):
    system = make(train_text=False)
    trained = {id(p) for group in system.parameter_groups(1e-3) for p in group["params"]}
    system.loss(batch(), keys(), 1).total.backward()
    assert not gradients(system.text_encoder).any()
    for name, part in system.modules.items():
        assert all((id(p) in trained) == (name != "text_encoder") for p in part.parameters())


def test_groups_share_the_smallest_key_of_theirs():
    own = Keys.of([5, 3, 9, 7])
    grouped = grouped_keys(own, ["ann", "bob", "ann", ""], ["run", "run", "", "walk"])
    assert grouped == Keys((5, 3, 5, 7), (3, 3, 9, 7))
    assert grouped_keys(own, [], []) == own


def test_groups_reach_over_the_shares_of_a_batch():
    keys, people, actions = Keys.of([9, 3, 5, 7]), ["ann", "bob", "ann", ""], ["run", "run", "", "walk"]
    whole = grouped_keys(keys, people, actions)
    mates = list(zip(keys.content, people, actions, strict=True))
    for own in (slice(0, 2), slice(2, 4)):
        share = grouped_keys(Keys.of(keys.content[own]), people[own], actions[own], mates)
        assert share == Keys(whole.content[own], whole.motion[own])


def test_one_identity_shares_base_noise_and_one_action_residual_noise(monkeypatch):
    """Sec. 4.7: two clips of one person doing two things, and two people doing one."""
    system = videofusion(grouped=True)
    drawn = []
    draw = type(system.noise).draw
    monkeypatch.setattr(type(system.noise), "draw", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    about = replace(batch(), identities=["ann", "ann", "bob", ""], actions=["run", "walk", "run", ""])
    with torch.no_grad():
        system.loss(about, keys(), 1)
    base, residual = drawn[0].base, drawn[0].residual
    assert torch.equal(base[0], base[1])
    assert torch.equal(residual[0], residual[2])
    for one, other in ((0, 2), (0, 3)):
        assert not torch.isclose(base[one], base[other]).any()
    for one, other in ((0, 1), (0, 3)):
        assert not torch.isclose(residual[one], residual[other]).any()


def test_parts_belong_to_the_published_variant():
    published, corrected = videofusion("published"), videofusion("corrected")
    with pytest.raises(InputError, match="prior is given; the variant 'corrected' takes none"):
        VideoFusionSystem(corrected.base, corrected.residual, published.conditions, corrected.config, corrected.common)
    with pytest.raises(InputError, match="prior is not given; the variant 'published' needs one"):
        VideoFusionSystem(published.base, published.residual, corrected.conditions, published.config, published.common)


def with_pictures(clips=2, each=3, sign=1.0):
    """A batch of clips with pictures beside them."""
    beside = batch(clips * each).clip[:, :1] if clips * each <= 4 else batch(4).clip.flatten(0, 1)[: clips * each, None]
    names = [f"picture {i}" for i in range(clips * each)]
    captions = [CAPTIONS[i % 4] for i in range(clips * each)]
    return replace(batch(clips), pictures=Batch(sign * beside, captions, names, torch.arange(clips * each)))


def test_pictures_weigh_as_frames_and_each_clip_has_its_own():
    system, beside = vdm(), with_pictures()
    alone = system.loss(batch(2), keys(2), 1)
    both = system.loss(beside, keys(2), 1)
    assert torch.equal(both.total, both.per_clip.mean())
    pictures = both.per_clip * (FRAMES + 3) - alone.per_clip * FRAMES
    assert (pictures > 0).all()
    first = replace(select(beside, [0]), pictures=select(beside.pictures, [0, 1, 2]))
    torch.testing.assert_close(system.loss(first, keys(1), 1).per_clip, both.per_clip[:1])


def test_the_bytes_of_a_batch_are_those_of_its_pictures_too():
    assert with_pictures().nbytes - batch(2).nbytes == with_pictures().pictures.clip.nbytes > 0


def test_temporal_layers_learn_nothing_from_pictures():
    def temporal_gradient(batch):
        system = vdm()
        system.loss(batch, keys(2), 1).total.backward()
        found = {name: p.grad for name, p in system.unet.named_parameters()}
        return {name: grad for name, grad in found.items() if ".temporals." in name}, found["conv_in.weight"]

    alone, all_alone = temporal_gradient(batch(2))
    both, all_both = temporal_gradient(with_pictures())
    assert alone
    for name, grad in alone.items():
        torch.testing.assert_close(both[name] * (FRAMES + 3) / FRAMES, grad, msg=name)
    assert (all_both * (FRAMES + 3) / FRAMES - all_alone).abs().max() > 1e-3  # spatial layers do


class TestRates:
    """Frames per second are a condition where clips have several (MagicVideo's new FPS, VDM's frame skip)."""

    @pytest.mark.parametrize(("make", "options"), SYSTEMS, ids=names(SYSTEMS))
    def test_the_loss_depends_on_a_clips_own_rate_and_on_no_others(self, make, options):
        system = make(**options, fps=True, caption_dropout=0.0)
        slow, fast = (replace(batch(), fps=torch.tensor([2.0, 8.0, 8.0, second])) for second in (2.0, 30.0))
        with torch.no_grad():
            first, second = (system.loss(each, keys(), 3).per_clip for each in (slow, fast))
        torch.testing.assert_close(first[:3], second[:3], atol=1e-6, rtol=0)
        assert abs(first[3] - second[3]) > 2e-6

    @pytest.mark.parametrize("make", [videofusion, vdm])
    def test_a_system_that_is_told_no_rate_does_not_hear_it(self, make):
        system, clips = make(), batch()
        with torch.no_grad():
            losses = [system.loss(each, keys(), 3).total for each in (clips, replace(clips, fps=torch.ones(4)))]
        assert torch.equal(*losses)

    def test_it_is_left_out_as_often_as_captions_are_and_else_told_as_it_is(self):
        clips, rates = Keys.of(range(400)), torch.linspace(1, 30, 400)

        def told(dropout: float, fps: torch.Tensor | None = rates) -> torch.Tensor | None:
            step = Step(number=7, frames=[0], dropout=dropout)
            clip = torch.zeros(400, 1, 1, 1, 1)
            return FrameRate().train(Batch(clip, [""] * 400, [""] * 400, torch.arange(400), fps=fps), clips, step).fps

        some = told(0.25)
        assert 0.18 < (some == 0).float().mean() < 0.32
        assert torch.equal(some[some > 0], rates[some > 0])
        assert torch.equal(told(0.0), rates)
        assert told(0.1, None) is None
