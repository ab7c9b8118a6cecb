"""Laws of the composite denoiser: what share, base and residual generator each decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, FRAMES, MIDDLE, SIZE, batch, keys, vdm, videofusion
from torch import Tensor, nn

from videofusion.conditioning.prompt import text_conditions
from videofusion.diffusion import ClassifierFree, Conditions, Keys, NetworkDenoiser, Prediction, make_schedule, times
from videofusion.diffusion.noise import DecomposedNoise
from videofusion.diffusion.samplers import get_sampler
from videofusion.errors import InputError
from videofusion.systems.decomposed import VARIANTS, VideoFusion

SCHEDULE = make_schedule("cosine")
UNCORRECTED = ("framewise", "published")
CORRECTS_BASE = [name for name, variant in VARIANTS.items() if variant.decides == "both"]
MIDDLE_FRAME = torch.sin(torch.arange(2 * 3 * SIZE * SIZE) * 0.7).reshape(2, 1, 3, SIZE, SIZE)
SHAPE = (2, FRAMES, 3, SIZE, SIZE)
SEEDS = Keys.of([3, 4])


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def told(system, share: Tensor) -> Conditions:
    """Two prompts, their share, and an embedding and a clean middle frame for those who want one."""
    conditions = text_conditions(system.text_encoder, CAPTIONS[:2])
    embedding = torch.sin(torch.arange(32.0)).reshape(2, 16)
    return replace(conditions, share=share, middle_frame=MIDDLE_FRAME, image_embedding=embedding)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
@pytest.mark.parametrize("variant", ["image-first", *UNCORRECTED])
def test_sharing_everything_repeats_the_image_model(variant, sampler):
    system = videofusion(variant)
    share = torch.ones(2, FRAMES)
    z = DecomposedNoise(1.0).draw(SHAPE, SEEDS, 0, share).eps
    conditions = told(system, share)
    sample = get_sampler(sampler)
    options = {"schedule": SCHEDULE, "times": times(SCHEDULE, 3)}
    image_model = ClassifierFree(NetworkDenoiser(system.base, SCHEDULE, "v"), 2.0)
    image = sample(image_model, z[:, :1], conditions=conditions.window(MIDDLE, MIDDLE + 1), **options)
    conditions = replace(conditions, middle_frame=image)
    clip = sample(ClassifierFree(system.denoiser, 2.0), z, conditions=conditions, **options)
    torch.testing.assert_close(clip, image.expand_as(clip), atol=1e-5, rtol=1e-5)
    assert clip[0].sub(clip[1]).abs().max() > 0.1  # two clips, two images


@pytest.mark.parametrize("spoiled", [False, True])
def test_sharing_nothing_leaves_plain_diffusion_by_the_residual_generator(spoiled):
    system = videofusion("framewise")
    share = DecomposedNoise(0.0).shares(2, FRAMES)
    z = DecomposedNoise(0.0).draw(SHAPE, SEEDS, 0, share).eps
    conditions = told(system, share)
    if spoiled:  # any base will do
        for parameter in system.base.parameters():
            parameter.mul_(-3)
    options = {"schedule": SCHEDULE, "times": times(SCHEDULE, 3), "conditions": conditions}
    clip = get_sampler("dpm++")(system.denoiser, z, **options)
    plain = get_sampler("dpm++")(NetworkDenoiser(system.residual, SCHEDULE, "v"), z, **options)
    others = [i for i in range(FRAMES) if i != MIDDLE]
    torch.testing.assert_close(clip[:, others], plain[:, others], atol=1e-5, rtol=1e-5)
    assert (clip[:, MIDDLE] - plain[:, MIDDLE]).abs().max() > 0.01  # the middle frame is the base's


@pytest.mark.parametrize("variant", VARIANTS)
def test_whether_the_base_noise_is_alive(variant):
    """Given the middle frame, image-first makes the same others of any base noise, as no decomposed diffusion does."""
    system = videofusion(variant)
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    conditions = told(system, share)
    stops = times(SCHEDULE, 4)
    clips = [
        get_sampler("ddim")(system.denoiser, noise, stops, schedule=SCHEDULE, conditions=conditions)
        for noise in (
            DecomposedNoise().draw(SHAPE, Keys.of(content, SEEDS.motion), 0, share).eps for content in ([3, 4], [5, 6])
        )
    ]
    others = [i for i in range(FRAMES) if i != MIDDLE]
    change = (clips[0] - clips[1])[:, others].abs().mean() / clips[0][:, others].std()
    assert (change > 0.1) == (variant != "image-first")
    if variant == "image-first":
        assert change < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_who_decides_the_middle_frame(variant):
    system = videofusion(variant)
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    base, joint = system.denoiser.predict(z, torch.tensor([0.4, 0.8]), told(system, share))
    of_base, of_given = (
        torch.allclose(each, joint.x0[:, MIDDLE : MIDDLE + 1], atol=1e-6) for each in (base.x0, MIDDLE_FRAME)
    )
    assert (of_base, of_given) == (variant in UNCORRECTED, variant == "image-first")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_base_that_learns_from_every_frame_changes_nothing_of_the_clip(variant):
    system = videofusion(variant)
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z, t = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps, torch.tensor([0.4, 0.8])
    base, joint = system.denoiser.predict(z, t, told(system, share))
    each, same = system.denoiser.predict(z, t, told(system, share), every=True)
    torch.testing.assert_close(same.x0, joint.x0)
    torch.testing.assert_close(each.x0[:, MIDDLE : MIDDLE + 1], base.x0)
    alone, _ = system.denoiser.predict(z.roll(1, 1), t, told(system, share))
    torch.testing.assert_close(each.x0[:, MIDDLE - 1 : MIDDLE], alone.x0)  # a picture, whatever is beside it


def shifted(z: Tensor, frame: int) -> Tensor:
    z = z.clone()
    z[:, frame] += 1
    return z


@pytest.mark.parametrize(
    ("variant", "others_reach_the_middle", "others_reach_each_other"),
    [
        ("joint", True, True),
        ("corrected", True, True),
        ("published", False, True),
        ("framewise", False, False),
        ("image-first", False, True),
    ],
)
def test_which_frames_hear_of_which(variant, others_reach_the_middle, others_reach_each_other):
    system = videofusion(variant)
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    t, conditions = torch.tensor([0.4, 0.8]), told(system, share)
    before = system.denoiser(z, t, conditions).x0
    heard = (system.denoiser(shifted(z, 4), t, conditions).x0 - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-5
    assert bool(heard[MIDDLE]) == others_reach_the_middle
    assert heard[[0, 1, 3]].tolist() == [others_reach_each_other] * 3
    heard = (system.denoiser(shifted(z, MIDDLE), t, conditions).x0 - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-5
    assert heard[[0, 1, 3, 4]].all()  # the base noise is in every frame
    assert heard[MIDDLE] == (variant != "image-first")  # whose middle frame is settled


class Known(nn.Module):
    """A function of the noisy picture for its clean one, told as a network of some kind of prediction would."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
        alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in SCHEDULE.alpha_sigma(time / 1000))
        prediction = Prediction(z, z, z, alpha, sigma).with_x0(torch.tanh(2 * z))
        return getattr(prediction, self.kind)


@pytest.mark.parametrize("variant", [*CORRECTS_BASE, *UNCORRECTED])
@pytest.mark.parametrize("kind", ["eps", "x0", "flow"])
def test_the_kind_of_the_base_does_not_matter(kind, variant):
    system = videofusion(variant)
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    answers = [
        VideoFusion(Known(one), system.residual, SCHEDULE, base_prediction=one, variant=variant)(
            z, torch.tensor([0.3, 0.9]), told(system, share)
        ).x0
        for one in ("v", kind)
    ]
    torch.testing.assert_close(*answers, atol=1e-4, rtol=1e-4)


def test_the_paper_s_equations():
    """Eq. 12 and 13 as they are printed, with a residual generator that says eps of its input, unscaled."""
    system = videofusion("framewise")
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    t, conditions = torch.tensor([0.3, 0.7]), told(system, share)

    class OfTheInput(nn.Module):
        def forward(self, seen: Tensor, time: Tensor, **_: object) -> Tensor:
            return torch.tanh(seen)

    composite = VideoFusion(system.base, OfTheInput(), SCHEDULE, residual_prediction="eps", variant="framewise")
    eps = composite(z, t, conditions).eps

    alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in SCHEDULE.alpha_sigma(t))
    weight = share[:, :, None, None, None]
    base_noise = NetworkDenoiser(system.base, SCHEDULE, "v")(
        z[:, MIDDLE : MIDDLE + 1], t, conditions.window(MIDDLE, MIDDLE + 1)
    ).eps
    rest = z - weight.sqrt() * sigma * base_noise  # eq. 12
    own = torch.tanh(rest / (alpha**2 + sigma**2 * (1 - weight)).sqrt())  # our scale of the input
    expected = weight.sqrt() * base_noise + (1 - weight).sqrt() * own  # eq. 13
    expected[:, MIDDLE] = base_noise[:, 0]
    torch.testing.assert_close(eps, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["cosine", "scaled_linear", "edm", "rectified_flow", "rectified_flow:3"])
@pytest.mark.parametrize("variant", [each for each in VARIANTS if each != "joint"])
def test_frames_are_shown_as_the_schedule_has_them_at_the_time_that_is_told(variant, name):
    """Alpha x + sigma r with the schedule's scales at that time, so that a pretrained network knows what it sees."""
    schedule = make_schedule(name)
    share = torch.tensor([[0.2, 0.7, 1.0, 0.9, 0.0]] * 2)
    noise = DecomposedNoise().draw(SHAPE, SEEDS, 0, share)
    x, t = torch.sin(torch.arange(torch.Size(SHAPE).numel()) * 0.3).reshape(SHAPE), torch.tensor([0.85, 0.3])
    alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in schedule.alpha_sigma(t))
    seen = {}

    class Knows(nn.Module):
        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            return x[:, MIDDLE : MIDDLE + 1]

    class Sees(nn.Module):
        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            seen["z"], seen["time"] = z[:, :, :3], time
            return torch.zeros_like(z[:, :, :3])

    conditions = Conditions(share=share, middle_frame=x[:, MIDDLE : MIDDLE + 1])
    VideoFusion(Knows(), Sees(), schedule, base_prediction="x0", variant=variant)(
        alpha * x + sigma * noise.eps, t, conditions
    )
    others = [i for i in range(FRAMES) if i != MIDDLE]
    ratio = (sigma.flatten()[:, None] * (1 - share).sqrt() / alpha.flatten()[:, None])[:, others]
    stands = schedule.time_at(-2 * ratio.log())
    torch.testing.assert_close(seen["time"][:, others], schedule.network_time(stands), atol=1e-2, rtol=1e-4)
    alpha, sigma = (scale[:, :, None, None, None] for scale in schedule.alpha_sigma(stands))
    expected = alpha * x[:, others] + sigma * noise.residual[:, others]
    torch.testing.assert_close(seen["z"][:, others], expected, atol=1e-3, rtol=1e-3)
    # nothing shared: z itself, at the clip's time
    assert torch.allclose(seen["time"][:, -1], schedule.network_time(t), rtol=1e-3)


@pytest.mark.parametrize("name", ["cosine", "scaled_linear", "rectified_flow"])
def test_a_noisy_middle_frame_stands_as_the_schedule_has_it_at_the_time_of_its_noise(name):
    schedule, level = make_schedule(name), torch.tensor([0.0, 0.15])
    x, noise = torch.zeros_like(MIDDLE_FRAME) + 0.5, MIDDLE_FRAME
    seen = {}

    class Sees(nn.Module):
        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            seen["z"], seen["time"] = z[:, MIDDLE, :3], time[:, MIDDLE]
            return torch.zeros_like(z[:, :, :3])

    shown = x + level.reshape(-1, 1, 1, 1, 1) * noise
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    conditions = Conditions(share=share, middle_frame=shown, middle_noise=level)
    VideoFusion(Known("v"), Sees(), schedule, variant="image-first").around(
        torch.zeros(SHAPE), torch.tensor([0.5, 0.5]), conditions, x
    )
    stands = schedule.time_at(-2 * level.log())
    assert stands[0] == 0
    torch.testing.assert_close(seen["time"], schedule.network_time(stands))
    alpha, sigma = (scale.reshape(-1, 1, 1, 1) for scale in schedule.alpha_sigma(stands))
    torch.testing.assert_close(seen["z"], alpha * x[:, 0] + sigma * noise[:, 0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["v", "x0", "flow"])
@pytest.mark.parametrize("name", ["cosine", "rectified_flow"])
@pytest.mark.parametrize("variant", [each for each in VARIANTS if each != "image-first"])
def test_gradients_are_finite_at_no_signal_and_at_nearly_no_noise(variant, name, kind):
    share = torch.tensor([[0.2, 0.7, 1.0, 0.9, 0.0], [1.0] * 5])

    class Bends(nn.Module):
        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            return torch.tanh(z[:, :, :3] + z[:, :, -3:].mean(dim=1, keepdim=True))

    denoiser = VideoFusion(
        Bends(), Bends(), make_schedule(name), residual_prediction=kind, variant=variant, stop_gradient=False
    )
    for t in ((1.0, 1.0), (1e-4, 0.0)):
        with torch.enable_grad():
            z = DecomposedNoise().draw(SHAPE, SEEDS, 0, share).eps.requires_grad_()
            x0 = denoiser(z, torch.tensor(t), Conditions(share=share)).x0
            (slope,) = torch.autograd.grad(x0.square().sum(), z)
        assert x0.isfinite().all()
        assert slope.isfinite().all()


@pytest.mark.parametrize("variant", CORRECTS_BASE)
def test_ours_are_exact_where_a_normal_law_is_known(variant):
    """What the residual generator is shown tells all of z, so the best one makes the composite E[x | z]."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(FRAMES, FRAMES, generator=generator, dtype=torch.float64)
    data = mixing @ mixing.T / FRAMES
    share = torch.tensor([[0.2, 0.7, 1.0, 0.9, 0.0]], dtype=torch.float64)
    noise = DecomposedNoise().covariance(share)[0]

    def gain(alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * data @ torch.linalg.inv(alpha**2 * data + sigma**2 * noise)

    class Base(nn.Module):
        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            alpha, sigma = SCHEDULE.alpha_sigma(time[0] / 1000)
            variance = data[MIDDLE, MIDDLE]
            return alpha * variance / (alpha**2 * variance + sigma**2) * z

    class Residual(nn.Module):
        def forward(self, seen: Tensor, time: Tensor, **_: object) -> Tensor:
            alpha, sigma = SCHEDULE.alpha_sigma(time[0, MIDDLE] / 1000)
            own, clean = seen[:, :, :3], seen[:, :1, 3:]
            weight = share[:, :, None, None, None]
            root, left = weight.sqrt(), (1 - weight).sqrt()
            middle = own[:, MIDDLE : MIDDLE + 1]
            if variant == "joint":
                z = left * own + root * middle
            else:
                z = (alpha**2 + sigma**2 * (1 - weight)).sqrt() * own + root * (middle - alpha * clean)
            z[:, MIDDLE] = own[:, MIDDLE]
            x0 = torch.einsum("ij,bjchw->bichw", gain(alpha, sigma), z)
            answer = x0.clone()
            if variant == "joint":
                answer = (x0 - root * x0[:, MIDDLE : MIDDLE + 1]) / left.clamp_min(1e-9)
            answer[:, MIDDLE] = (x0[:, MIDDLE] - clean[:, 0]) / sigma
            return answer

    composite = VideoFusion(
        Base(), Residual(), SCHEDULE, base_prediction="x0", residual_prediction="x0", variant=variant
    )
    z = torch.randn(1, FRAMES, 3, 2, 2, generator=generator, dtype=torch.float64)
    for time in (0.05, 0.5, 0.95):
        t = torch.tensor([time], dtype=torch.float64)
        expected = torch.einsum("ij,bjchw->bichw", gain(*SCHEDULE.alpha_sigma(t[0])), z)
        torch.testing.assert_close(composite(z, t, Conditions(share=share)).x0, expected)


def test_an_estimated_base_noise_leaves_a_ghost_of_the_middle_frame_and_a_known_one_none():
    """Of the middle frame's error e, -sqrt(share) alpha e is left in every frame that the residual generator sees."""
    share = torch.tensor([[0.2, 0.7, 1.0, 0.9, 0.0]] * 2)
    noise = DecomposedNoise().draw(SHAPE, SEEDS, 0, share)
    x, t = torch.sin(torch.arange(torch.Size(SHAPE).numel()) * 0.3).reshape(SHAPE), torch.tensor([0.85, 0.3])
    alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in SCHEDULE.alpha_sigma(t))
    weight = share[:, :, None, None, None]
    error = MIDDLE_FRAME

    class Off(nn.Module):
        """Says the middle frame, with that error."""

        def forward(self, z: Tensor, time: Tensor, **_: object) -> Tensor:
            return x[:, MIDDLE : MIDDLE + 1] - error

    class Sees(nn.Module):
        def forward(self, seen: Tensor, time: Tensor, **_: object) -> Tensor:
            self.rest = seen[:, :, :3] * (alpha**2 + sigma**2 * (1 - weight)).sqrt()
            return torch.zeros_like(seen[:, :, :3])

    others = [i for i in range(FRAMES) if i != MIDDLE]
    process = alpha * x + sigma * (1 - weight).sqrt() * noise.residual
    conditions = Conditions(share=share, middle_frame=x[:, MIDDLE : MIDDLE + 1])
    for variant, ghost in (("corrected", -weight.sqrt() * alpha * error), ("image-first", torch.zeros_like(x))):
        residual = Sees()
        VideoFusion(Off(), residual, SCHEDULE, base_prediction="x0", variant=variant)(
            alpha * x + sigma * noise.eps, t, conditions
        )
        torch.testing.assert_close((residual.rest - process)[:, others], ghost[:, others], atol=1e-5, rtol=0)


STOCHASTIC = [("ddpm", {}), ("dpm++sde", {}), ("ddim", {"eta": 1.0})]


@pytest.mark.parametrize(
    ("sampler", "options"), [*STOCHASTIC, ("ddim", {}), ("dpm++", {}), ("heun", {}), ("angular", {})]
)
def test_every_sampler_leaves_an_image_first_middle_frame_where_it_is(sampler, options):
    system = videofusion("image-first")
    share = DecomposedNoise(0.5).shares(2, FRAMES)

    def noise(step: int) -> Tensor:
        return DecomposedNoise(0.5).draw(SHAPE, SEEDS, step, share).eps

    clip = get_sampler(sampler)(
        ClassifierFree(system.denoiser, 2.0),
        noise(0),
        times(SCHEDULE, 3),
        schedule=SCHEDULE,
        conditions=told(system, share),
        noise=noise,
        **options,
    )
    torch.testing.assert_close(clip[:, MIDDLE], MIDDLE_FRAME[:, 0], atol=1e-5, rtol=0)
    assert (clip - MIDDLE_FRAME).abs().amax(dim=(0, 2, 3, 4))[[0, 1, 3, 4]].min() > 0.1


def test_a_given_middle_frame_belongs_to_the_composite_and_reaches_no_network():
    system = videofusion("image-first")
    conditions = told(system, DecomposedNoise(0.5).shares(2, FRAMES))
    assert "middle_frame" not in conditions.given()
    for part in (conditions.window(1, 4), conditions.without("text")):
        assert torch.equal(part.middle_frame, MIDDLE_FRAME)
    assert torch.equal(conditions.select([1]).middle_frame, MIDDLE_FRAME[1:])
    heard = []
    for network in (system.base, system.residual):
        network.register_forward_pre_hook(lambda _, __, told: heard.append(set(told)), with_kwargs=True)
    system.loss(batch(), keys(), 1)
    system.pipeline()(CAPTIONS[0], steps=1)
    assert len(heard) == 2 + 2 * 2  # base and residual generator once in training; with guidance twice each at sampling
    assert not any("middle_frame" in names for names in heard)


def test_a_window_of_frames_keeps_their_numbers():
    """Frames 1 to 3 alone, the middle one still in the middle, frame by frame: as in the whole clip."""
    system = videofusion("framewise")
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    t, conditions = torch.tensor([0.4, 0.8]), told(system, share)
    whole = system.denoiser(z, t, conditions).x0[:, 1:4]
    part = system.denoiser(z[:, 1:4], t, conditions.window(1, 4)).x0
    torch.testing.assert_close(part, whole, atol=1e-5, rtol=1e-5)


def test_a_window_finds_its_base_frame_wherever_it_is_and_without_one_there_is_a_sentence():
    """Frame by frame, so that a window's frames are as in the whole clip, whatever else it holds."""
    system = videofusion("framewise")
    share = DecomposedNoise(0.5).shares(2, FRAMES)
    z = DecomposedNoise(0.5).draw(SHAPE, SEEDS, 0, share).eps
    t, conditions = torch.tensor([0.4, 0.8]), told(system, share)
    whole = system.denoiser(z, t, conditions).x0
    for start, stop in ((0, MIDDLE + 1), (MIDDLE, FRAMES), (MIDDLE - 1, FRAMES)):
        part = system.denoiser(z[:, start:stop], t, conditions.window(start, stop)).x0
        torch.testing.assert_close(part, whole[:, start:stop], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match=r"share is at most 0\.5; a window of a clip must hold its base frame"):
        system.denoiser(z[:, :MIDDLE], t, conditions.window(0, MIDDLE))


def test_refusals():
    with pytest.raises(InputError, match=r"variant is 'best'; it must be one of joint, corrected, published"):
        VideoFusion(nn.Identity(), nn.Identity(), SCHEDULE, variant="best")
    with pytest.raises(InputError, match=r"that one is called 'image-first' now"):
        VideoFusion(nn.Identity(), nn.Identity(), SCHEDULE, variant="anchored")
    system = videofusion()
    conditions = replace(told(system, torch.ones(2, FRAMES)), share=None)
    with pytest.raises(InputError, match="share is not given"):
        system.denoiser(torch.zeros(SHAPE), torch.tensor([0.5, 0.5]), conditions)
    image_first = videofusion("image-first").denoiser
    conditions = replace(told(system, torch.ones(2, FRAMES)), middle_frame=None)
    for call in (image_first, image_first.predict):
        with pytest.raises(
            InputError, match="middle_frame is not given; the variant 'image-first' needs the clean middle frame"
        ):
            call(torch.zeros(SHAPE), torch.tensor([0.5, 0.5]), conditions)
    conditions = Conditions(share=DecomposedNoise(0.5).shares(2, FRAMES), middle_frame=MIDDLE_FRAME)
    for variant in VARIANTS:
        noisy = VideoFusion(Known("v"), nn.Identity(), SCHEDULE, residual_prediction="eps", variant=variant)
        with pytest.raises(InputError, match="residual_prediction is 'eps', which says nothing of the clip where"):
            noisy(torch.zeros(SHAPE), torch.ones(2), conditions)
    with pytest.raises(InputError, match="prediction is 'noise'"):
        vdm(prediction="noise").denoiser(
            torch.zeros(SHAPE), torch.tensor([0.5, 0.5]), text_conditions(system.text_encoder, CAPTIONS[:2])
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_where_there_is_no_noise_none_is_predicted(variant: str) -> None:
    """What a clean clip says of noise is its mean: so DDIM run upwards adds none of the clip at its first step."""
    system = videofusion(variant)
    clip = torch.sin(0.3 * torch.arange(2 * FRAMES * 3 * SIZE * SIZE)).reshape(SHAPE)
    share, middle = DecomposedNoise(0.5).shares(2, FRAMES), clip[:, MIDDLE : MIDDLE + 1]
    conditions = replace(told(system, share), middle_frame=middle)
    prediction = system.denoiser(clip, torch.zeros(2), conditions)
    assert not prediction.eps.any()
    torch.testing.assert_close(prediction.x0, clip, atol=1e-5, rtol=0)
    stops = torch.tensor([0.0, 0.05])
    up = get_sampler("ddim")(system.denoiser, clip, stops, schedule=SCHEDULE, conditions=conditions)
    torch.testing.assert_close(up, SCHEDULE.alpha_sigma(stops)[0][1] * clip, atol=1e-5, rtol=0)
