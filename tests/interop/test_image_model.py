"""Image models out of folders: prompts as diffusers encodes them, and one picture as diffusers makes it."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_folders as tiny
import torch
from torch import Tensor

from videofusion.conditioning.prompt_encoder import size_ids
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.grids import times
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.samplers import ddim
from videofusion.diffusion.schedules import make_schedule
from videofusion.interop.image_model import ImageModel, load_image_model

PROMPTS = ["a red cat", "blue (dogs)"]


@pytest.fixture(scope="module", params=["sd", "xl"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ImageModel]:
    """A pipeline of diffusers, and the same out of its folder."""
    theirs = tiny.sd_pipeline() if request.param == "sd" else tiny.xl_pipeline()
    theirs.set_progress_bar_config(disable=True)
    return theirs, load_image_model(tiny.save(theirs, tmp_path_factory.mktemp("model") / request.param))


@pytest.mark.parametrize("negative", [None, "", "grey, flat"])
@torch.no_grad()
def test_prompts_are_embedded_as_diffusers_does(pair: tuple[Any, ImageModel], negative: str | None) -> None:
    theirs, ours = pair
    xl = ours.facts.time_ids > 0
    found = ours.prompts.conditions(PROMPTS, negative)
    told = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    given = None if negative is None else [negative] * 2
    expected = theirs.encode_prompt(PROMPTS, negative_prompt=given, **told)
    without = found.without("text")
    torch.testing.assert_close(found.text, expected[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(without.text, expected[1], rtol=0, atol=1e-6)
    if xl:
        torch.testing.assert_close(found.pooled_text, expected[2], rtol=0, atol=1e-6)
        torch.testing.assert_close(without.pooled_text, expected[3], rtol=0, atol=1e-6)
    assert (found.pooled_text is not None) == xl


@pytest.mark.filterwarnings("ignore")  # theirs
@torch.no_grad()
def test_one_picture_is_theirs(pair: tuple[Any, ImageModel]) -> None:
    theirs, ours = pair
    facts = ours.facts
    noise = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    options = {"num_inference_steps": 10, "guidance_scale": 5.0, "output_type": "pt", "negative_prompt": "grey"}
    states: list[Tensor] = []

    def keep(pipe: Any, number: int, time: Tensor, told: dict[str, Tensor]) -> dict[str, Tensor]:
        states.append(told["latents"])
        return told

    options |= {"callback_on_step_end": keep, "height": 16, "width": 16}
    expected = 2 * theirs("a red cat", latents=noise[:, 0], **options).images - 1
    conditions = ours.prompts.conditions(["a red cat"], "grey")
    if facts.time_ids:
        conditions = ours.prompts.conditions(["a red cat"], "grey", time_ids=size_ids(16, 16))
    schedule = make_schedule(facts.schedule)
    denoiser = NetworkDenoiser(ours.unet, schedule, facts.prediction)
    grid = times(schedule, 10, spacing=facts.spacing)
    own: list[Tensor] = []

    def look(z: Tensor, t: Tensor) -> Tensor:
        own.append(z)
        return z

    guided = ClassifierFree(denoiser, 5.0, ("text",))
    made = ddim(guided, noise, grid, schedule=schedule, conditions=conditions, on_state=look)
    assert len(own) == len(states) == 10
    for z, state in zip(own, states, strict=True):
        assert float((z[:, 0] - state).norm() / state.norm()) < 1e-4
    assert (facts.height, facts.width) == (16, 16)
    torch.testing.assert_close(ours.space.decode(made)[:, 0], expected, rtol=0, atol=1e-4)
    assert float(expected.std()) > 0.05


def test_in_half_precision_where_there_is_nothing_else(tmp_path: Path) -> None:
    theirs = tiny.sd_pipeline()
    for part in (theirs.unet, theirs.vae, theirs.text_encoder):
        part.half()
    theirs.save_pretrained(tmp_path, variant="fp16")
    ours = load_image_model(tmp_path)
    assert {each.dtype for each in (*ours.unet.parameters(), *ours.prompts.encoders[0].model.parameters())} == {
        torch.float32
    }
    assert torch.equal(ours.unet.conv_in.weight, theirs.unet.conv_in.weight.float())


def test_as_a_video_model_it_begins_as_the_image_model(tmp_path: Path) -> None:
    folder = tiny.save(tiny.sd_pipeline(), tmp_path)
    image, video = load_image_model(folder), load_image_model(folder, temporal="factorised")
    z, time = torch.randn(1, 3, 4, 8, 8), torch.tensor([321.0])
    text = image.prompts.embed(["a red cat"]).text
    with torch.no_grad():
        torch.testing.assert_close(video.unet(z, time, text=text), image.unet(z, time, text=text))
    assert sum(each.numel() for each in video.unet.parameters()) > image.facts.weights["unet"]
