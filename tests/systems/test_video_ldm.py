"""Laws of Video LDM: the image model stays exact, only temporal layers learn, and frames that are given are heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, batch, by_part, evaluated, keys, shake, words
from torch import Tensor

from videofusion.conditioning.condition import Step
from videofusion.conditioning.context import ContextFrames
from videofusion.conditioning.prompt import Prompt
from videofusion.data.batch import Batch
from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.networks.unet import UNet
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.video_ldm import VideoLDM, VideoLDMConfig
from videofusion.tasks import extend
from videofusion.training.trainer import train

SIZES: dict[str, Any] = {
    "channels": (8, 16),
    "blocks": 1,
    "attention": ("none", "transformer"),
    "heads": 2,
    "text_size": 16,
    "groups": 4,
}


def network(row: str = "video_ldm", context: int = 4) -> UNet:
    """As if trained: nothing is zero."""
    unet = UNet(**SIZES, temporal=row, context=context)
    shake(unet)
    return unet.eval()


def image_of(unet: UNet) -> UNet:
    """The image model that a video model has in it."""
    image = UNet(**SIZES).eval()
    image.load_state_dict(unet.spatial_state(), strict=True)
    return image


def system(**options: object) -> VideoLDM:
    torch.manual_seed(0)
    config, common = by_part(VideoLDMConfig, {"caption_dropout": 0.0, **options})
    shown = ContextFrames(config.shown(FRAMES), within=True)
    return evaluated(VideoLDM(network(), [Prompt(words()), shown], config, common))


def asked() -> dict[str, Tensor]:
    torch.manual_seed(1)
    clip, text = torch.randn(2, FRAMES, 3, SIZE, SIZE), torch.randn(2, 7, 16)
    return {
        "z": clip,
        "time": torch.tensor([3.0, 700.0]),
        "text": text,
        "beside": torch.randn(2, FRAMES, 4, SIZE, SIZE),
    }


def learn(model: VideoLDM, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameter_groups(1e-2), weight_decay=0.1)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        model.loss(batch(), keys(), step).total.backward()
        optimizer.step()


@torch.no_grad()
def exact(unet: UNet, **how: float) -> bool:
    """Whether a video model is its image model to the bit, whatever it is shown."""
    told = asked()
    alone = {name: value for name, value in told.items() if name != "beside"}
    return torch.equal(unet(**told, **how), image_of(unet)(**alone))


def test_without_temporal_layers_a_trained_model_is_the_image_model_to_the_bit() -> None:
    model = system()
    before = {name: value.clone() for name, value in model.unet.spatial_state().items()}
    others = {name: value.clone() for name, value in model.unet.state_dict().items() if name not in before}
    text = {name: value.clone() for name, value in model.text_encoder.state_dict().items()}
    learn(model, 3)
    after = model.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(torch.equal(value, model.text_encoder.state_dict()[name]) for name, value in text.items())
    assert all(not torch.equal(value, after[name]) for name, value in others.items())
    assert not exact(model.unet)
    assert exact(model.unet, temporal=0.0)
    with torch.no_grad():
        for name, parameter in model.unet.named_parameters():
            if name.endswith("mix_factor"):
                parameter.fill_(100.0)  # an alpha of 1
    assert exact(model.unet)


def test_temporal_layers_alone_are_told_what_is_shown() -> None:
    model = system()
    told = asked()
    for temporal, heard in ((1.0, True), (0.0, False)):
        beside = told["beside"].clone().requires_grad_()
        model.unet(**{**told, "beside": beside}, temporal=temporal).square().sum().backward()
        assert (beside.grad is not None and bool(beside.grad.any())) == heard
    names = {name for name in model.unet.state_dict() if ".context." in name}
    assert names
    assert not names & set(model.unet.spatial_state())


@torch.no_grad()
def test_a_frame_that_is_shown_is_heard_in_its_own_and_other_frames_and_not_in_other_clips() -> None:
    unet, told = network(), asked()
    moved = {**told, "beside": told["beside"].clone()}
    moved["beside"][0, 0] += 1
    change = (unet(**moved) - unet(**told)).abs().amax(dim=(2, 3, 4))
    assert (change[0] > 1e-5).all()
    assert not change[1].any()


@torch.no_grad()
def test_the_mask_tells_a_black_frame_from_none() -> None:
    unet, told = network(), asked()
    none = {**told, "beside": torch.zeros_like(told["beside"])}
    black = {**told, "beside": none["beside"].clone()}
    black["beside"][:, 0, 0] = 1
    assert (unet(**none) - unet(**black)).abs().max() > 1e-4


def test_training_shows_none_one_or_two_frames_and_hides_the_rest() -> None:
    clips = [batch(4)] * 16
    many = Batch(torch.cat([each.clip for each in clips]), CAPTIONS * 16, [str(i) for i in range(64)], torch.arange(64))
    shown = ContextFrames(VideoLDMConfig().shown(FRAMES), within=True)
    told = shown.train(many, keys(64), Step(number=3, frames=range(FRAMES))).beside
    masks, frames = told[:, :, 0, 0, 0], told[:, :, 1:]
    assert {tuple(mask) for mask in masks.int().tolist()} == {(0,) * 5, (1, 0, 0, 0, 0), (1, 1, 0, 0, 0)}
    assert torch.equal(frames, many.clip * masks[:, :, None, None, None])


def test_a_network_that_copies_what_it_is_shown_has_no_loss_there() -> None:
    """So what is shown is the clean frame, where the clip has it; noise alone says less."""
    model = system(context=FRAMES - 1, prediction="x0", weighting="x0")
    model.unet.forward = lambda z, time, beside, **told: beside[:, :, 1:]
    seen = [model._errors]
    errors: list[Tensor] = []
    model._errors = lambda *args: errors.append(seen[0](*args)) or errors[-1]
    model.loss(batch(), keys(), 8)
    told = model.conditions[1].train(batch(), keys(), Step(number=8, frames=range(FRAMES)))
    given = told.beside[:, :, 0, 0, 0].bool()
    assert given.any()
    assert not given.all()
    torch.testing.assert_close(errors[0][given], torch.zeros(int(given.sum())))
    assert (errors[0][~given] > 1e-2).all()


def test_interpolation_shows_key_frames() -> None:
    assert [list(each) for each in VideoLDMConfig(key_frames=4).shown(13)] == [[0, 4, 8, 12]]
    assert system(key_frames=2).pipeline().config.context == 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"context": 5}, "system.context is 5.*less than the clips' frames"),
        ({"key_frames": 1}, "system.key_frames is 1"),
    ],
)
def test_a_clip_that_is_shown_whole_leaves_nothing_to_learn(keys: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        VideoLDMConfig(**keys).shown(FRAMES)


@torch.no_grad()
def test_known_frames_are_the_context_and_their_guidance_goes_further() -> None:
    pipe = system(guidance=2.0, context_guidance=3.0).pipeline()
    known, own = Known(batch(1).clip[0, :2], (0, 1)), {"seed": 1, "steps": 2}
    told = pipe.prepare(CAPTIONS[0], known=known, **own).conditions.beside
    assert told[0, :, 0, 0, 0].tolist() == [1, 1, 0, 0, 0]
    assert torch.equal(told[0, :2, 1:], known.frames)
    assert not told[0, 2:].any()
    made = pipe(CAPTIONS[0], known=known, **own)
    assert torch.equal(made, pipe(CAPTIONS[0], known=known, guidance={"text": 2.0, "beside": 3.0}, **own))
    assert not torch.allclose(made, pipe(CAPTIONS[0], known=known, guidance={"text": 2.0}, **own))
    off = pipe(CAPTIONS[0], known=known, guidance=1.0, **own)  # 1 is off everywhere
    assert torch.equal(off, pipe(CAPTIONS[0], known=known, guidance={"text": 1.0, "beside": 1.0}, **own))


@torch.no_grad()
def test_guidance_by_given_frames_costs_no_call_where_none_is_given() -> None:
    pipe, calls = system(guidance=2.0, context_guidance=3.0).pipeline(), []
    forward = pipe.unet.forward
    pipe.unet.forward = lambda *args, **told: calls.append(1) or forward(*args, **told)
    known = Known(batch(1).clip[0, :1], (0,))
    made = pipe(CAPTIONS[0], steps=2, sampler="ddim")
    assert len(calls) == 4
    assert torch.equal(made, pipe(CAPTIONS[0], steps=2, sampler="ddim", guidance={"text": 2.0}))
    calls.clear()
    pipe(CAPTIONS[0], steps=2, sampler="ddim", known=known)
    assert len(calls) == 6
    calls.clear()
    pipe(CAPTIONS[0], steps=2, sampler="ddim", guidance={"beside": 3.0})
    assert len(calls) == 2


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "given", "shown"),
    [
        ({"context": 2}, (0, 1, 2), [1, 1, 0, 0, 0]),
        ({"context": 2}, (0, 3), [1, 0, 0, 0, 0]),
        ({"context": 2}, (3,), [0] * 5),
        ({"key_frames": 2}, (0, 2, 4), [1, 0, 1, 0, 1]),
        ({"key_frames": 2}, (0, 1, 2), [0] * 5),  # as `extend` gives them
    ],
)
def test_no_mask_is_shown_that_was_not_in_training(
    config: dict[str, int], given: tuple[int, ...], shown: list[int], tmp_path: Path
) -> None:
    system(**config).pipeline().save_pretrained(tmp_path)
    pipe, known = load(tmp_path, device="cpu"), Known(batch(1).clip[0, list(given)], given)
    told = pipe.prepare(CAPTIONS[0], known=known, steps=1).conditions.beside
    assert told[0, :, 0, 0, 0].tolist() == shown
    made = pipe(CAPTIONS[0], known=known, steps=1)
    assert torch.equal(made[list(given)], known.frames)  # which are there all the same


@torch.no_grad()
def test_a_clip_goes_on_from_as_many_frames_as_it_learned_from() -> None:
    pipe, seen = system().pipeline(), []
    prepare = pipe.prepare
    object.__setattr__(
        pipe, "prepare", lambda *args, **asked: seen.append(asked["known"].at) or prepare(*args, **asked)
    )
    made = extend(pipe, batch(1).clip[0], CAPTIONS[0], frames=9, steps=1)
    assert made.shape[0] == 9
    assert seen == [(0, 1)] * 2


def test_a_frozen_image_model_has_to_be_named() -> None:
    from videofusion.digits.moving_digits import MovingDigits
    from videofusion.systems.build import build_system

    with pytest.raises(
        InputError, match="trains temporal layers in an image network that stays as it is; name the one"
    ):
        build_system(get_recipe("tiny", {"system": "video-ldm"}), MovingDigits(4, 16, "train"))


def test_trains_from_an_image_model_saves_loads_makes_clips_and_goes_on(tmp_path: Path) -> None:
    small = {
        "network.channels": (16, 16),
        "network.attention": ("none", "transformer"),
        "text.size": 16,
        "clips.size": 8,
        "batch.size": 2,
        "budget.steps": 2,
        "log.sample_interval": 0,
        "log.boards": (),
        "checkpoints.interval": 2,
        "log.validation_interval": 2,
        "log.validation_batches": 1,
    }
    image = {"clips.frames": 1, "network.temporal": "image", "batch.frames": None, "clips.two_digits": 0.0}
    pictures = get_recipe("digit-images", {**small, **image, "network.heads": 2, "network.groups": 4})
    train(pictures, tmp_path / "image", device="cpu", bar=False)
    own = {"start.image_model": str(tmp_path / "image"), "clips.frames": FRAMES, "network.groups": 4}
    made = train(get_recipe("video-ldm-digits", {**small, **own}), tmp_path / "video", device="cpu", bar=False)
    pipe, before = load(made.model, device="cpu"), load(tmp_path / "image" / "model", device="cpu")
    image_weights = before.unet.state_dict()
    assert image_weights.keys() == pipe.unet.spatial_state().keys()
    assert all(torch.equal(value, image_weights[name]) for name, value in pipe.unet.spatial_state().items())
    assert pipe.config.context == 2
    clip = pipe("a red three moving left", seed=1, steps=2)
    assert clip.shape == (FRAMES, 3, 8, 8)
    longer = extend(pipe, clip, "a red three moving left", frames=8, steps=2)
    assert torch.equal(longer[:FRAMES], clip)
    again = load(made.model, device="cpu")("a red three moving left", seed=1, steps=2)
    assert torch.equal(again, clip)


def test_works_in_the_latents_of_an_autoencoder(saved_vae: Path, tmp_path: Path) -> None:
    from videofusion.interop.autoencoders import load_autoencoder

    torch.manual_seed(0)
    vae = load_autoencoder(str(saved_vae))
    config, common = by_part(VideoLDMConfig, {"vae": vae})
    unet = UNet(**{**SIZES, "in_channels": 4, "out_channels": 4}, temporal="video_ldm", context=5)
    shake(unet)
    shown = ContextFrames(config.shown(FRAMES), within=True)
    pipe = evaluated(VideoLDM(unet, [Prompt(words()), shown], config, common)).pipeline()
    made = pipe(CAPTIONS[0], known=Known(batch(1).clip[0, :1], (0,)), steps=1, guidance=1.0)
    assert made.shape == (FRAMES, 3, SIZE, SIZE)


def test_inflates_a_stable_diffusion_folder(saved_vae: Path, saved_text: Path, tmp_path: Path) -> None:
    from diffusers import DDPMScheduler, UNet2DConditionModel

    from videofusion.digits.moving_digits import MovingDigits
    from videofusion.interop.diffusers_unet import unet_from_diffusers
    from videofusion.systems.build import build_system

    torch.manual_seed(0)
    theirs = UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
    )
    theirs.save_pretrained(tmp_path / "unet")
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        tmp_path / "scheduler"
    )
    own = {"start.image_model": str(tmp_path), "network.autoencoder": str(saved_vae), "text.encoder": str(saved_text)}
    recipe = get_recipe("video-ldm-folder", {**own, "text.size": 16, "clips.size": 16, "clips.frames": FRAMES})
    model = build_system(recipe, MovingDigits(FRAMES, 16, "train"))
    assert isinstance(model, VideoLDM)
    image = unet_from_diffusers(tmp_path).eval()
    model.unet.eval()
    z, time, text = torch.randn(2, FRAMES, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(2, 7, 16)
    beside = torch.randn(2, FRAMES, 5, 8, 8)
    with torch.no_grad():
        for temporal in (0.0, 1.0):  # fresh layers add nothing
            made = model.unet(z, time, text=text, beside=beside, temporal=temporal)
            assert torch.equal(made, image(z, time, text=text))
    learns = {name for name, parameter in model.unet.named_parameters() if parameter.requires_grad}
    assert not learns & set(image.state_dict())
    assert len(learns) + len(image.state_dict()) == len(model.unet.state_dict())


def test_layers_that_are_told_no_context_refuse_it() -> None:
    with pytest.raises(InputError, match="context is 4, but temporal is 'factorised', without residual blocks"):
        UNet(**SIZES, temporal="factorised", context=4)
    told, unet = asked(), network()
    with pytest.raises(InputError, match="takes 7"):
        unet(told["z"], told["time"], text=told["text"])
