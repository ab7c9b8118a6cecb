"""Text2Video-Zero: the numbers that diffusers had, and the laws of its parts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from gaussian import Gaussian
from safetensors.torch import load_file
from torch import Tensor, nn

from videofusion.diffusion import ClassifierFree, Conditions, NetworkDenoiser, make_schedule, times
from videofusion.diffusion.latent_motion import (
    motion_shifts,
    moving_start,
    renoise,
    smooth_background,
    text2video_zero,
    warp,
)
from videofusion.diffusion.samplers import ddim, get_sampler
from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_from_diffusers

GOLDEN = Path(__file__).parent / "golden" / "text2video_zero.safetensors"
UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 8),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
SCHEDULE = make_schedule("scaled_linear")
STEPS, GUIDANCE = 10, 5.0
AT = (STEPS - 8 - 1, STEPS - 6 - 1)  # diffusers counts from the end: t1 = 8 and t0 = 6


class FirstFrame:
    """An attention processor whose keys and values are the first frame's, written out."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_) -> Tensor:
        seen = hidden_states[:1].expand_as(hidden_states) if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(seen), attn.to_v(seen)
        query, key, value = (attn.head_to_batch_dim(each) for each in (query, key, value))
        weights = attn.get_attention_scores(query, key)
        return attn.to_out[0](attn.batch_to_head_dim(weights @ value))


class Frames(nn.Module):
    """diffusers' image network as one of clips, one at a time."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, z: Tensor, time: Tensor, text: Tensor, temporal: float = 1.0, **_: Tensor) -> Tensor:
        made = [
            self.unet(frames, n, told.expand(len(frames), -1, -1)).sample
            for frames, n, told in zip(z, time, text, strict=True)
        ]
        return torch.stack(made)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN)


@pytest.fixture(scope="module", params=["diffusers' network", "ours"])
def network(golden: dict[str, Tensor], request: pytest.FixtureRequest) -> nn.Module:
    """The kept network with a written-out processor, and as our own with its reach for the first frame."""
    unet = UNet2DConditionModel(**UNET).eval()
    weights = {name.removeprefix("unet."): value for name, value in golden.items() if name.startswith("unet.")}
    unet.load_state_dict(weights)
    if request.param == "ours":
        return unet_from_diffusers(unet, "text2video_zero")
    unet.set_attn_processor(FirstFrame())
    return Frames(unet)


def parts(network: nn.Module, golden: dict[str, Tensor]) -> tuple[ClassifierFree, Conditions, Tensor]:
    told = Conditions(text=golden["text"], null={"text": golden["null"]})
    return (
        ClassifierFree(NetworkDenoiser(network, SCHEDULE, "eps"), GUIDANCE),
        told,
        times(SCHEDULE, STEPS, spacing="leading"),
    )


@torch.no_grad()
def test_has_the_numbers_of_diffusers_with_its_step_too_early(network: nn.Module, golden: dict[str, Tensor]) -> None:
    denoiser, told, stops = parts(network, golden)
    options = {"schedule": SCHEDULE, "conditions": told, "motion": (64 / 512, 64 / 512), "steps": AT}
    first, eps = golden["first"][None], golden["eps"][None]
    made = text2video_zero(denoiser, first, stops, eps, published=True, **options)[0]
    error = (made - golden["made"]).flatten(1).norm(dim=1) / golden["made"].flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-4
    ours = text2video_zero(denoiser, first, stops, eps, **options)[0]
    assert torch.equal(ours[0], made[0])
    assert float((ours - made)[1:].flatten(1).norm(dim=1).min()) > 1e-4  # the paper's forward process is another


def test_moves_frames_as_diffusers_did(golden: dict[str, Tensor]) -> None:
    shift = motion_shifts((0, 1, 2, 5), (24 / 512, -40 / 512))
    assert torch.equal(warp(golden["still"][None], shift)[0], golden["moved"])


@pytest.mark.filterwarnings("ignore")  # of what is deprecated there
@pytest.mark.peer
@torch.no_grad()
def test_the_kept_numbers_are_those_of_diffusers_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero")
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN.parent / "make_text2video_zero.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    monkeypatch.setattr(maker, "PLACE", tmp_path)
    maker.main()
    kept, made = load_file(GOLDEN), load_file(tmp_path / GOLDEN.name)
    assert kept.keys() == made.keys()
    for name, value in kept.items():
        torch.testing.assert_close(made[name], value, rtol=1e-4, atol=1e-5)


def clip(frames: int = 3) -> Tensor:
    return torch.randn(2, frames, 2, 8, 16, generator=torch.Generator().manual_seed(0))


def test_a_frame_is_moved_by_whole_places_and_mirrored_at_the_edge() -> None:
    moved = warp(clip(1), torch.tensor([[2 / 16, 1 / 8]]))
    assert torch.equal(moved[..., :-1, :-2], clip(1)[..., 1:, 2:])
    assert torch.equal(moved[..., :-1, -2:], clip(1)[..., 1:, -2:].flip(-1))
    assert torch.equal(warp(clip(), torch.zeros(3, 2)), clip())


@pytest.mark.parametrize("name", ["scaled_linear", "cosine", "rectified_flow"])
def test_noised_again_a_clip_has_the_scales_of_the_later_time(name: str) -> None:
    schedule = make_schedule(name)
    below, above = torch.tensor(0.6), torch.tensor(0.8)
    alpha, sigma = schedule.alpha_sigma(torch.stack([below, above]).double())
    x, eps = torch.ones(1), torch.zeros(1)
    kept = renoise(alpha[0] * x, eps, schedule, below, above)
    torch.testing.assert_close(kept, alpha[1] * x, check_dtype=False)
    fresh = renoise(torch.zeros(1), torch.ones(1), schedule, below, above)
    old = renoise(sigma[0] * x, eps, schedule, below, above)
    torch.testing.assert_close(fresh**2 + old**2, sigma[1:] ** 2, check_dtype=False)
    assert torch.equal(renoise(x, torch.ones(1), schedule, above, above), x)


@torch.no_grad()
def test_without_motion_and_with_nothing_in_front_the_first_frame_is_repeated(
    network: nn.Module, golden: dict[str, Tensor]
) -> None:
    denoiser, told, stops = parts(network, golden)
    options = {"schedule": SCHEDULE, "conditions": told, "motion": (0.0, 0.0), "steps": AT}
    first, eps = golden["first"][None], golden["eps"][None]

    def nothing(clip: Tensor) -> Tensor:
        return torch.zeros(clip.shape[1], 1, *clip.shape[-2:])

    for published in (False, True):
        made = text2video_zero(
            denoiser, first, stops, eps, foreground=nothing, weight=1.0, published=published, **options
        )
        torch.testing.assert_close(made, made[:, :1].expand_as(made), rtol=1e-4, atol=1e-4)
        image = ddim(denoiser, first, stops, schedule=SCHEDULE, conditions=told)
        torch.testing.assert_close(made[:, :1], image, rtol=1e-4, atol=1e-4)
    less = text2video_zero(denoiser, first, stops, eps, foreground=nothing, weight=0.6, **options)
    assert (less[:, 1:] - less[:, :1]).abs().max() > 1e-2


@torch.no_grad()
def test_a_video_made_in_parts_is_the_one_made_at_once(network: nn.Module, golden: dict[str, Tensor]) -> None:
    """Frames know the first one only: so every part begins with it, and has the later ones' own numbers."""
    denoiser, told, stops = parts(network, golden)
    options = {"schedule": SCHEDULE, "conditions": told, "steps": AT}
    first, eps = golden["first"][None], golden["eps"][None]
    whole = text2video_zero(denoiser, first, stops, eps, **options)
    part = text2video_zero(denoiser, first, stops, eps[:, 1:], frames=[0, 2, 3], **options)
    torch.testing.assert_close(part, whole[:, [0, 2, 3]], rtol=1e-4, atol=1e-4)


def test_a_foreground_is_left_alone_and_the_background_follows_the_first_frame() -> None:
    z, motion = clip(), (2 / 16, 0.0)
    mask = torch.zeros(3, 1, 8, 16)
    mask[..., :4] = 1
    made = smooth_background(z, mask, motion=motion, weight=1.0)
    assert torch.equal(made[..., :4], z[..., :4])
    assert torch.equal(made[:, 0], z[:, 0])
    assert torch.equal(made[:, 1, :, :, 4:-2], z[:, 0, :, :, 6:])
    assert torch.equal(smooth_background(z, mask, motion=motion, weight=0.0), z)
    # the published code leaves out, too, where the first frame's foreground is moved to
    moved = torch.zeros(3, 1, 8, 16)
    moved[0, ..., 6:10] = 1
    assert torch.equal(
        smooth_background(z, moved, motion=motion, weight=1.0, published=True)[:, 1, :, :, 4:8], z[:, 1, :, :, 4:8]
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: warp(clip(), torch.zeros(2, 2)), "shift has the shape"),
        (lambda: smooth_background(clip(), torch.zeros(2, 1, 8, 16)), "foreground has the shape"),
        (lambda: smooth_background(clip(), torch.zeros(3, 1, 8, 16), weight=2.0), "weight is 2.0"),
        (
            lambda: renoise(clip(), clip(), SCHEDULE, torch.tensor(0.6), torch.tensor(0.5)),
            "noise is added from an earlier to a later one",
        ),
        (
            lambda: renoise(
                clip(), clip(), make_schedule("cosine"), torch.tensor(0.5), torch.tensor(0.6), published=True
            ),
            "published is True",
        ),
    ],
)
def test_refusals(call, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


@pytest.mark.parametrize(
    ("first", "eps", "steps", "says"),
    [
        (1, 3, (1, 10), "steps are 1 and 10; they must be in order, from 0 to 9"),
        (1, 3, (4, 3), "steps are 4 and 3"),
        (2, 3, (1, 3), "noise of the first frame and of the others"),
    ],
)
def test_refused_starts(first: int, eps: int, steps: tuple[int, int], says: str) -> None:
    stops = times(SCHEDULE, STEPS)
    with pytest.raises(InputError, match=says):
        moving_start(
            lambda *_: None, clip(first), stops, clip(eps), schedule=SCHEDULE, conditions=Conditions(), steps=steps
        )


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++sde", "langevin"])
def test_no_noise_is_injected_twice(sampler: str) -> None:
    """Of clips that are noise, with an exact denoiser: what the way to T has drawn is not drawn again after it.

    Every draw is a pixel of its own, so that the sum of squares over pixels is the variance of a frame.
    """
    frames, count, steps = 3, 10, (4, 6)
    one = torch.eye(frames, dtype=torch.float64)
    law = Gaussian(SCHEDULE, torch.zeros(frames, dtype=torch.float64), one, one)
    alone = Gaussian(SCHEDULE, torch.zeros(1, dtype=torch.float64), one[:1, :1], one[:1, :1])
    draws = 4 * count

    def noise(step: int) -> Tensor:
        made = torch.zeros(1, frames, frames, draws, 1, dtype=torch.float64)
        for frame in range(frames):
            made[0, frame, frame, step] = 1
        return made

    def denoise(z: Tensor, t: Tensor, conditions: Conditions):
        return (law if z.shape[1] == frames else alone)(z, t, conditions)

    told = {"schedule": SCHEDULE, "conditions": Conditions(), "noise": noise, "sampler": get_sampler(sampler)}
    stops, begun = times(SCHEDULE, count).double(), noise(0)
    start = moving_start(denoise, begun[:, :1], stops, begun[:, 1:], motion=(0.0, 0.0), steps=steps, **told)
    made = text2video_zero(denoise, begun[:, :1], stops, begun[:, 1:], motion=(0.0, 0.0), steps=steps, **told)
    plain = told.pop("sampler")(denoise, begun, stops, **told)
    variance, expected = (each.square().sum(dim=(2, 3, 4))[0] for each in (made, plain))
    torch.testing.assert_close(variance[0], expected[0], rtol=0.02, atol=0)  # solvers of two steps begin anew at T
    assert float(start.z.square().sum(dim=(2, 3, 4)).max()) < 1.01
