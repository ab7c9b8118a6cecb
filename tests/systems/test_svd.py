"""Laws of Stable Video Diffusion: diffusers' pipeline step by step, what the picture says, and the three stages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FRAMES, SIZE, batch, by_part, evaluated, keys, shake, unet, words
from torch import Tensor

import videofusion as vf
from videofusion.conditioning.condition import Condition, Step, network_inputs, told_in_training
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.numbers import BUCKETS
from videofusion.conditioning.prompt import Prompt
from videofusion.diffusion import Conditions
from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.keys import Stream, normal
from videofusion.networks.inflation import inflated
from videofusion.networks.unet import UNet
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.pipeline import Hooks
from videofusion.systems.svd import StableVideoConfig, StableVideoDiffusion, StableVideoPipeline, of_picture
from videofusion.tasks import extend, generate
from videofusion.training.trainer import train

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))

import tiny_folders

HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def theirs() -> Any:
    return tiny_folders.stable_video_pipeline()


@pytest.fixture(scope="module")
def pipe(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> StableVideoPipeline:
    found = vf.load(tiny_folders.save(theirs, tmp_path_factory.mktemp("svd") / "svd"), device="cpu")
    assert isinstance(found, StableVideoPipeline)
    return found


def picture() -> tuple[Image.Image, Tensor]:
    """A picture as they and as we take it."""
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.filterwarnings("ignore")  # theirs
def test_makes_the_clips_that_diffusers_makes_at_every_step(
    theirs: Any, pipe: StableVideoPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, image = picture()
    asked = {"fps": 9, "motion": 40 / BUCKETS, "image_noise": 0.3, "guidance": 2.5}
    prepared = pipe.prepare(image=image, steps=5, seed=3, **asked)
    found: list[Tensor] = []
    made = pipe.run(prepared, hooks=Hooks(on_state=lambda z, t: found.append(z) or z))
    eps = normal([3], Stream.PICTURE, 0, [0], image.shape)[:, 0]
    module = "diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion.randn_tensor"
    monkeypatch.setattr(module, lambda shape, **_: eps.reshape(shape))  # of the picture's noise; latents are given
    theirs.set_progress_bar_config(disable=True)
    states: list[Tensor] = []

    def keep(_: Any, step: int, time: Any, told: dict[str, Tensor]) -> dict[str, Tensor]:
        states.append(told["latents"])
        return told

    expected = theirs(
        shown,
        height=HEIGHT,
        width=WIDTH,
        num_inference_steps=5,
        fps=9,
        motion_bucket_id=40,
        noise_aug_strength=0.3,
        max_guidance_scale=2.5,
        latents=prepared.noise(0).clone(),
        decode_chunk_size=8,
        output_type="pt",
        callback_on_step_end=keep,
    ).frames
    scales = (1 + theirs.scheduler.sigmas[1:] ** 2).sqrt()  # ours preserve variance
    assert len(found) == len(states) == 5
    for ours, other, scale in zip(found, states, scales, strict=True):
        assert error(ours * scale, other) < 1e-4
    assert error(pipe.decode(made), 2 * expected - 1) < 1e-4


def test_the_scale_goes_evenly_from_the_first_frame_to_the_last(pipe: StableVideoPipeline) -> None:
    _, image = picture()
    guided = pipe.prepare(image=image, guidance=2.0, steps=1).denoiser
    plain = pipe.denoiser()
    told = pipe.prepare(image=image, steps=1).conditions
    z, t = torch.randn(1, 5, 4, HEIGHT // 2, WIDTH // 2), torch.tensor([0.8])
    with torch.no_grad():
        given, free = plain(z, t, told), plain(z, t, told.without("text", "beside"))
        found = guided(z, t, told)
    scale = torch.tensor([1.0, 1.25, 1.5, 1.75, 2.0]).reshape(1, 5, 1, 1, 1)
    torch.testing.assert_close(found.x0, free.x0 + scale * (given.x0 - free.x0))
    off = pipe.prepare(image=image, guidance=1.0, steps=1).denoiser
    with torch.no_grad():
        assert torch.equal(off(z, t, told).x0, given.x0)


def test_it_is_saved_and_loaded(pipe: StableVideoPipeline, tmp_path: Path) -> None:
    _, image = picture()
    pipe.save_pretrained(tmp_path)
    again = vf.load(tmp_path, device="cpu")
    clips = [each(image=image, steps=1, seed=4, frames=3) for each in (pipe, again)]
    assert torch.equal(*clips)
    assert again.config.sampler_options == {"spacing": "karras"}


def test_longer_clips_go_on_from_their_last_frame(pipe: StableVideoPipeline) -> None:
    _, image = picture()
    asked: Mapping[str, Any] = {"steps": 1, "seed": 1}
    long = generate(pipe, "", frames=7, image=image, output="latent", **asked)
    assert long.shape[0] == 7
    first = pipe(image=image, output="latent", **asked)
    assert torch.equal(first, long[:5])
    shown = Known(first[-1:], at=[0], latent=True)
    alone = pipe.prepare(known=shown, start=4, height=HEIGHT, width=WIDTH, steps=1)
    told = pipe.prepare(image=pipe.space.decode(first[-1:])[0], steps=1).conditions
    assert alone.conditions.text is not None
    torch.testing.assert_close(alone.conditions.text, told.text)
    assert extend(pipe, image[None], "", frames=3, **asked).shape[0] == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"height": 32, "width": 48}, "image is not given; this model makes clips of a first picture"),
        (
            {"image": torch.zeros(3, 32, 48), "height": 64},
            r"image is 1 of 48x32 .* it must be of the clips' size, 48x64",
        ),
        ({"image": torch.zeros(2, 3, 32, 48)}, "image is 2 of 48x32 .* and one or 1"),
        ({"image": torch.zeros(32, 48)}, "image must be a picture, 3 h w or b 3 h w"),
        ({"image": torch.full((3, 32, 48), 7.0)}, "image"),
        ({"image": torch.zeros(3, 32, 48), "frames": 9}, "frames is 9; this model's clips have 5"),
        ({"image": torch.zeros(3, 33, 48)}, "size is 33x48; both must be multiples of 4"),
        ({"image": torch.zeros(3, 32, 48), "motion": 1.5}, r"motion is 1.5; it must lie in \[0, 1\]"),
        ({"image": torch.zeros(3, 32, 48), "negative": "rain"}, "this model takes no text"),
    ],
)
def test_what_it_cannot_make(pipe: StableVideoPipeline, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        pipe.prepare(steps=1, **asked)


def test_a_prompt_is_not_heard_and_other_models_take_no_picture(pipe: StableVideoPipeline) -> None:
    _, image = picture()
    with pytest.warns(UserWarning, match="ignores the prompt 'a panda'"):
        pipe.prepare("a panda", image=image, steps=1)
    with pytest.raises(InputError, match="image is given; this model makes clips of texts"):
        vf.load("moving-digits", device="cpu").prepare("a red three", image=image)


def system(stage: str, **options: object) -> StableVideoDiffusion:
    torch.manual_seed(0)
    config, common = by_part(StableVideoConfig, {"stage": stage, "schedule": "edm", "caption_dropout": 0.0, **options})
    told: list[Condition] = [Prompt(words())]
    if stage == "image-to-video":
        told = list(of_picture(FrameEncoder(size=16, channels=(8, 8)), common.space))
    sizes: Any = {"channels": (8, 16), "blocks": 1, "attention": ("none", "transformer"), "heads": 2, "groups": 4}
    network = UNet(**{"text_size": 16, **network_inputs(told, 3)}, **sizes, temporal="svd")
    shake(network)
    return evaluated(StableVideoDiffusion(network, told, config, common))


@torch.no_grad()
def test_a_fresh_row_is_the_image_network() -> None:
    image = unet("image").eval()
    video = inflated(image, "svd", in_channels=6, numbers=3).eval()
    z, time, text = torch.randn(2, 5, 3, 8, 8), torch.tensor([3.0, 0.5]), torch.randn(2, 1, 16)
    told = {"beside": torch.randn(2, 5, 3, 8, 8), "numbers": torch.randn(2, 3)}
    torch.testing.assert_close(video(z, time, text=text, **told), image(z, time, text=text))


@pytest.mark.parametrize("stage", ["images", "video", "image-to-video"])
def test_the_loss_of_each_stage(stage: str) -> None:
    model = system(stage)
    loss = model.loss(batch(), keys(), 1)
    loss.total.backward()
    learned = {name for name, each in model.unet.named_parameters() if each.grad is not None and each.grad.any()}
    image = set(model.unet.spatial_state())
    assert bool(loss.total.isfinite())
    assert learned & image
    assert bool(learned - image) == (stage != "images")
    # a clip's error is its own, whatever stands beside it in the batch
    assert loss.per_clip.shape == (4,)
    again = system(stage).loss(batch(), keys(), 1).per_clip
    assert torch.equal(again, loss.per_clip)


def test_the_error_is_that_of_karras_and_sigma_is_lognormal() -> None:
    model = system("video", log_sigma=(-0.5, 0.3))
    from videofusion.diffusion import Keys

    alpha, sigma = model.denoiser.schedule.alpha_sigma(model.times(Keys.of(range(4000)), 1).double())
    levels = (sigma / alpha).log()
    assert abs(float(levels.mean()) + 0.5) < 0.02
    assert abs(float(levels.std()) - 0.3) < 0.02
    # eq. 8 and table 1 for data of unit power: (1 + sigma²) / sigma² times the error of the clean clip
    clips, look, t = batch(), Step(number=1, frames=range(FRAMES)), model.times(keys(), 1)
    alpha, sigma = (each.reshape(-1, 1, 1, 1, 1) for each in model.denoiser.schedule.alpha_sigma(t))
    eps = model.noise.draw(clips.clip.shape, keys(), 2, frames=range(FRAMES)).eps
    told = told_in_training(model.conditions, clips, keys(), look)
    with torch.no_grad():
        made = model.denoiser(alpha * clips.clip + sigma * eps, t, told).x0
        loss = model.loss(clips, keys(), 1).per_clip
    level = (sigma / alpha).flatten()
    errors = (made - clips.clip).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, (1 + level**2) / level**2 * errors, rtol=1e-3, atol=1e-4)


def test_what_a_clip_is_told_in_training_is_what_a_user_asks_for() -> None:
    model, look = system("image-to-video"), Step(number=3, frames=range(FRAMES))
    clips = batch()
    told = told_in_training(model.conditions, clips, keys(), look)
    assert told.numbers is not None
    rate, motion, noise = told.numbers.unbind(1)
    assert bool((rate == 6).all())
    assert bool(((motion >= 0) & (motion <= BUCKETS)).all())
    asked = {"fps": 7, "motion": float(motion[0]) / BUCKETS, "image_noise": float(noise[0])}
    user = model.pipeline().prepare(image=clips.clip[0, 0], seed=5, steps=1, **asked).conditions
    torch.testing.assert_close(user.numbers, told.numbers[:1])
    torch.testing.assert_close(user.text, told.text[:1])
    assert user.beside is not None
    assert told.beside is not None
    spread = [float((each[0] - clips.clip[0, 0]).std()) for each in (user.beside[0], told.beside[0])]
    assert all(abs(each / float(noise[0]) - 1) < 0.2 for each in spread)
    gone = told_in_training(model.conditions, clips, keys(), Step(number=3, frames=range(FRAMES), dropout=1.0))
    assert not gone.text.any()
    assert not gone.beside.any()
    assert torch.equal(gone.numbers, told.numbers)


def test_a_still_clip_has_no_motion() -> None:
    model, still = system("image-to-video"), batch()
    still.clip[:] = still.clip[:, :1]
    told = told_in_training(model.conditions, still, keys(), Step(number=1, frames=range(FRAMES)))
    moving = told_in_training(model.conditions, batch(), keys(), Step(number=1, frames=range(FRAMES)))
    assert isinstance(told, Conditions)
    assert float(told.numbers[:, 1].max()) < 0.15 * BUCKETS
    assert bool((moving.numbers[:, 1] > told.numbers[:, 1]).all())


@pytest.mark.slow
def test_a_run_of_the_last_stage_begins_from_one_of_the_second(tmp_path: Path) -> None:
    small = {
        "network.channels": (8, 16),
        "network.attention": ("none", "transformer"),
        "network.groups": 4,
        "text.size": 16,
        "clips.frames": 3,
        "clips.size": 8,
        "clips.kind": "static-digits",
        "batch.size": 2,
        "budget.steps": 1,
        "budget.seconds": None,
        "log.validation_batches": 1,
        "sampling.steps": 1,
        "log.sample_interval": 1,
        "clips.two_digits": 0.0,
    }
    train(get_recipe("svd-digits", {**small, "system.stage": "video"}), run=tmp_path / "video", bar=False)
    train(get_recipe("svd-digits", {**small, "start.model": str(tmp_path / "video")}), run=tmp_path / "last", bar=False)
    assert (tmp_path / "last" / "samples").is_dir()
    pipe = vf.load(tmp_path / "last", device="cpu")
    clip = pipe(image=torch.zeros(3, SIZE, SIZE), steps=1)
    assert clip.shape == (3, 3, SIZE, SIZE)
    early = vf.load(tmp_path / "video", device="cpu")
    assert early("a red three", steps=1).shape == (3, 3, SIZE, SIZE)
