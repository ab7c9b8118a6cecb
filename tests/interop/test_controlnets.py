"""ControlNets: residuals are diffusers', our U-Net does with them what theirs does, and the wrong ones are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_folders as tiny
import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.control import Controlled
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.grids import times
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.samplers import ddim
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.interop.controlnets import load_controlnet
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.image_model import load_image_model


def controlnet(unet: Any, **options: Any) -> Any:
    torch.manual_seed(4)
    found = diffusers.ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(4, 8), load_weights_from_unet=False, **options
    )
    return tiny.stirred(found)


def close(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def told(xl: bool, b: int) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """What a network is told beside text: ours by name, and theirs."""
    pooled, sizes = torch.randn(b, 24), torch.randint(0, 64, (b, 6)).float()
    ours = {"pooled_text": pooled, "time_ids": sizes} if xl else {}
    return ours, {"text_embeds": pooled, "time_ids": sizes} if xl else None


@pytest.mark.parametrize("kind", ["sd", "xl", "bgr", "pooled"])
@torch.no_grad()
def test_a_picture_does_to_our_unet_what_it_does_to_theirs(kind: str, tmp_path: Path) -> None:
    xl = kind == "xl"
    unet = tiny.xl_unet() if xl else tiny.unet()
    theirs = controlnet(unet, controlnet_conditioning_channel_order="bgr" if kind == "bgr" else "rgb")
    if kind == "pooled":
        theirs.register_to_config(global_pool_conditions=True)
    theirs.save_pretrained(tmp_path)
    ours = unet_from_diffusers(unet)
    net = load_controlnet(tmp_path, ours)
    b, t = 2, 3
    z, text, time = torch.randn(b, t, 4, 8, 8), torch.randn(b, 5, 48 if xl else 32), torch.tensor([7.0, 801.0])
    picture = torch.rand(b, t, 3, 16, 16) * 2 - 1
    own, added = told(xl, b)
    found = net(z, time, net.look(picture), text=text, **own)
    flat = {"timestep": time.repeat_interleave(t), "encoder_hidden_states": text.repeat_interleave(t, 0)}
    if added is not None:
        flat["added_cond_kwargs"] = {name: value.repeat_interleave(t, 0) for name, value in added.items()}
    down, middle = theirs(z.flatten(0, 1), controlnet_cond=(picture.flatten(0, 1) + 1) / 2, return_dict=False, **flat)
    for mine, other in zip(found, (*down, middle), strict=True):
        close(mine.flatten(0, 1), other.expand_as(mine.flatten(0, 1)))
    expected = unet(
        z.flatten(0, 1), down_block_additional_residuals=down, mid_block_additional_residual=middle, **flat
    ).sample
    made = ours(z, time, text=text, control=found, **own)
    close(made.flatten(0, 1), expected)
    assert float((made - ours(z, time, text=text, **own)).abs().max()) > 1e-3


@pytest.mark.filterwarnings("ignore")  # theirs
@torch.no_grad()
def test_one_picture_of_a_whole_pipeline_is_theirs(tmp_path: Path) -> None:
    base = tiny.sd_pipeline()
    nets = [controlnet(base.unet), tiny.stirred(controlnet(base.unet))]
    for number, net in enumerate(nets):
        net.save_pretrained(tmp_path / f"net{number}")
    ours = load_image_model(tiny.save(base, tmp_path / "sd"))
    theirs = diffusers.StableDiffusionControlNetPipeline(
        **{**base.components, "controlnet": nets}, requires_safety_checker=False
    )
    theirs.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 1, 4, 8, 8)
    pictures = [torch.rand(1, 3, 16, 16) for _ in nets]
    options = {"num_inference_steps": 6, "guidance_scale": 3.0, "output_type": "pt", "negative_prompt": ""}
    expected = theirs(
        "a red cat", pictures, latents=noise[:, 0], controlnet_conditioning_scale=[1.0, 0.5], **options
    ).images
    schedule = make_schedule(ours.facts.schedule)
    controlled = Controlled(
        NetworkDenoiser(ours.unet, schedule, ours.facts.prediction),
        schedule,
        [load_controlnet(tmp_path / f"net{number}", ours.unet) for number in range(2)],
        [2 * picture[:, None] - 1 for picture in pictures],
        [1.0, 0.5],
    )
    made = ddim(
        ClassifierFree(controlled, 3.0, ("text",)),
        noise,
        times(schedule, 6, spacing=ours.facts.spacing),
        schedule=schedule,
        conditions=ours.prompts.conditions(["a red cat"], ""),
    )
    torch.testing.assert_close(ours.space.decode(made)[:, 0], 2 * expected - 1, rtol=0, atol=1e-4)


class TestControlled:
    @pytest.fixture
    def parts(self, tmp_path: Path) -> tuple[Any, Any, Any, Conditions]:
        theirs = tiny.unet()
        controlnet(theirs).save_pretrained(tmp_path)
        unet = unet_from_diffusers(theirs)
        schedule = make_schedule("scaled_linear")
        return (
            NetworkDenoiser(unet, schedule, "eps"),
            schedule,
            load_controlnet(tmp_path, unet),
            Conditions(text=torch.randn(2, 5, 32)),
        )

    @torch.no_grad()
    def test_a_window_has_the_pictures_of_its_frames(self, parts: tuple[Any, Any, Any, Conditions]) -> None:
        denoiser, schedule, net, conditions = parts
        controlled = Controlled(denoiser, schedule, [net], [torch.rand(1, 4, 3, 16, 16)], [1.0])
        z, t = torch.randn(2, 4, 4, 8, 8), torch.tensor([0.3, 0.8])
        whole = controlled(z, t, conditions).eps
        part = controlled(z[:, 1:3], t, conditions.window(1, 3)).eps
        torch.testing.assert_close(part, whole[:, 1:3], rtol=1e-4, atol=1e-4)
        with pytest.raises(InputError, match="there are pictures for 4 frames, but none for frame 5"):
            controlled(z[:, :2], t, conditions.window(4, 6))

    @torch.no_grad()
    def test_scale_0_and_other_times_leave_the_clip_alone(self, parts: tuple[Any, Any, Any, Conditions]) -> None:
        denoiser, schedule, net, conditions = parts
        z, t = torch.randn(2, 1, 4, 8, 8), torch.tensor([0.3, 0.3])
        alone = denoiser(z, t, conditions).eps
        picture = torch.rand(1, 1, 3, 16, 16)
        for scale, interval, same in ((0.0, (0.0, 1.0), True), (1.0, (0.5, 1.0), True), (1.0, (0.2, 0.4), False)):
            found = Controlled(denoiser, schedule, [net], [picture], [scale], interval)(z, t, conditions).eps
            assert torch.equal(found, alone) == same

    def test_what_does_not_fit_is_told(self, parts: tuple[Any, Any, Any, Conditions]) -> None:
        denoiser, schedule, net, conditions = parts
        with pytest.raises(InputError, match="1 controls, 0 pictures and 1 scales"):
            Controlled(denoiser, schedule, [net], [], [1.0])
        with pytest.raises(InputError, match="control scale is nan"):
            Controlled(denoiser, schedule, [net], [torch.rand(1, 1, 3, 16, 16)], [float("nan")])
        with pytest.raises(InputError, match=r"picture has the shape .* takes b t 3 h w"):
            Controlled(denoiser, schedule, [net], [torch.rand(1, 3, 16, 16)], [1.0])
        small = Controlled(denoiser, schedule, [net], [torch.rand(1, 1, 3, 8, 16)], [1.0])
        with pytest.raises(InputError, match=r"pictures have 1 frames of 4x8 places, but the clip has 1 frames of 8x8"):
            small(torch.randn(2, 1, 4, 8, 8), torch.tensor([0.3, 0.3]), conditions)


class TestFolders:
    def test_a_controlnet_of_another_size(self, tmp_path: Path) -> None:
        controlnet(tiny.unet(width=40)).save_pretrained(tmp_path)
        with pytest.raises(
            InputError, match=r"config\.json: .* cross_attention_dim is 40, but this U-Net has 32; expected"
        ):
            load_controlnet(tmp_path, unet_from_diffusers(tiny.unet()))
        controlnet(tiny.xl_unet()).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"cross_attention_dim is 48, but this U-Net has 32"):
            load_controlnet(tmp_path, unet_from_diffusers(tiny.unet()))
        controlnet(tiny.unet(block_out_channels=(8, 16))).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"block_out_channels is \[8, 16\], but this U-Net has \[16, 32\]"):
            load_controlnet(tmp_path, unet_from_diffusers(tiny.unet()))

    def test_one_for_the_latents_alone_fits_a_unet_that_takes_more(self, tmp_path: Path) -> None:
        controlnet(tiny.unet()).save_pretrained(tmp_path)
        load_controlnet(tmp_path, unet_from_diffusers(tiny.unet(in_channels=9)))

    def test_what_is_no_controlnet(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"has no config\.json; expected was the folder of a ControlNetModel"):
            load_controlnet(tmp_path)
        tiny.unet().save_pretrained(tmp_path)
        with pytest.raises(InputError, match="is a UNet2DConditionModel; expected was a ControlNetModel"):
            load_controlnet(tmp_path)
        (tmp_path / "x.ckpt").write_bytes(b"x")
        with pytest.raises(InputError, match=r"x\.ckpt is a pickle, which is refused; expected was the folder of a"):
            load_controlnet(tmp_path / "x.ckpt")

    def test_weights_that_do_not_fit(self, tmp_path: Path) -> None:
        controlnet(tiny.unet()).save_pretrained(tmp_path)
        file = tmp_path / "diffusion_pytorch_model.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:-100])
        with pytest.raises(InputError, match=r"diffusion_pytorch_model\.safetensors is cut short"):
            load_controlnet(tmp_path)
        file.write_bytes(whole)
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"layers_per_block": 2}))
        with pytest.raises(InputError, match=r"the weights lack .*, which their config.json asks for"):
            load_controlnet(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(config | {"class_embed_type": "timestep"}))
        with pytest.raises(InputError, match="class_embed_type or addition_embed_type, which is not known here"):
            load_controlnet(tmp_path)
