"""Laws of plain diffusion with a list of conditions: stages, frames that are shown beside, and their guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, batch, by_part, evaluated, keys, unet, words

from videofusion.conditioning.context import ContextFrames
from videofusion.conditioning.prompt import Prompt
from videofusion.diffusion.known import Known
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.plain import PlainDiffusion, Stage


@dataclass(frozen=True, kw_only=True)
class StagedConfig(SystemConfig):
    name: ClassVar[str] = "staged"
    stage: str = "clips"


class Staged(PlainDiffusion):
    Config = StagedConfig
    stages: ClassVar[Mapping[str, Stage]] = {
        "images": Stage(trains="image", temporal=0.0),
        "clips": Stage(trains="temporal", words="none"),
        "all": Stage(),
        "context": Stage(conditions=("beside",)),
        "text": Stage(conditions=("text",)),
    }


def staged(stage: str, row: str = "factorised", *, context: bool = False) -> Staged:
    torch.manual_seed(0)
    network, text = unet(row, 7 if context else 3), words()
    config, common = by_part(StagedConfig, {"stage": stage, "caption_dropout": 0.0})
    told = [Prompt(text, captions=stage != "clips"), *[ContextFrames([(0, 1)])] * context]
    return evaluated(Staged(network, told, config, common))


def after_a_step(system: Staged) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """All weights before and after a step of training, with decay."""

    def weights() -> dict[str, torch.Tensor]:
        parts = system.modules.items()
        return {f"{part}.{name}": p.detach().clone() for part, module in parts for name, p in module.named_parameters()}

    before = weights()
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2), weight_decay=0.1)
    system.loss(batch(), keys(), 1).total.backward()
    optimizer.step()
    return before, weights()


@pytest.mark.parametrize("stage", ["images", "clips", "all"])
def test_a_stage_trains_what_it_says_and_leaves_the_rest_to_the_bit(stage: str) -> None:
    system = staged(stage)
    image = {f"unet.{name}" for name in system.unet.spatial_state()}
    before, after = after_a_step(system)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    temporal = {name for name in before if name.startswith("unet.")} - image
    assert temporal
    assert bool(changed & temporal) == (stage != "images")
    assert bool(changed & image) == (stage != "clips")
    assert any(name.startswith("text_encoder.") for name in changed) == (stage != "clips")


def test_an_image_stage_looks_at_each_frame_by_itself() -> None:
    system, clips = staged("images"), batch()
    turned = replace(clips, clip=clips.clip.clone())
    turned.clip[:, 1:] = 0
    seen = []
    forward = system.unet.forward
    system.unet.forward = lambda *args, **told: seen.append(forward(*args, **told)) or seen[-1]
    with torch.no_grad():
        for each in (clips, turned):
            system.loss(each, keys(), 8)
    torch.testing.assert_close(seen[0][:, 0], seen[1][:, 0])
    assert not torch.allclose(seen[0][:, 1], seen[1][:, 1])


def test_clips_without_captions_are_told_none() -> None:
    system = staged("clips")
    other = replace(batch(), captions=CAPTIONS[::-1])
    with torch.no_grad():
        losses = [system.loss(each, keys(), 1).per_clip for each in (batch(), other)]
    assert torch.equal(*losses)


def test_frames_shown_beside_are_learned_and_the_image_s_columns_stay() -> None:
    system = staged("clips", context=True)
    before, after = after_a_step(system)
    first = "unet.conv_in.weight"
    assert torch.equal(before[first][:, :3], after[first][:, :3])
    assert not torch.equal(before[first][:, 3:], after[first][:, 3:])


@torch.no_grad()
def test_given_frames_are_seen_and_their_guidance_is_one_of_several() -> None:
    pipe = staged("all", context=True).pipeline()
    frames = batch(1).clip[0, :2]
    asked = {"seed": 1, "steps": 2}

    def make(known: Known | None, **guidance: object) -> torch.Tensor:
        return pipe(CAPTIONS[0], known=known, **asked, **guidance)

    shown = Known(frames, (0, 1))
    followed, free = make(shown, guidance=1.0), make(None, guidance=1.0)
    assert followed.shape == (FRAMES, 3, SIZE, SIZE)
    assert (followed - free)[2:].abs().max() > 1e-3  # which replacement alone, before the last step, does too
    torch.testing.assert_close(make(shown, guidance={"text": 2.0}), make(shown, guidance=2.0))
    assert not torch.allclose(make(shown, guidance={"text": 2.0, "beside": 3.0}), make(shown, guidance=2.0))
    with pytest.raises(ValueError, match='condition of guidance "besides" is unknown'):
        make(shown, guidance={"besides": 2.0})
    told = pipe.prepare(CAPTIONS[0], known=shown, **asked).conditions.beside
    assert told.shape == (1, FRAMES, 4, SIZE, SIZE)
    assert told[0, :, 0, 0, 0].tolist() == [1, 1, 0, 0, 0]
    torch.testing.assert_close(told[0, :2, 1:], frames)


@torch.no_grad()
def test_a_stage_tells_its_conditions_and_of_others_their_null_value() -> None:
    clips = batch()
    quiet = replace(clips, captions=[""] * len(clips))
    losses = {
        stage: staged(stage, context=True).loss(clips, keys(), 1).per_clip for stage in ("all", "context", "text")
    }
    torch.testing.assert_close(losses["context"], staged("all", context=True).loss(quiet, keys(), 1).per_clip)
    hidden = staged("all", context=True)
    hidden.conditions = (hidden.conditions[0], ContextFrames([()]))
    torch.testing.assert_close(losses["text"], hidden.loss(clips, keys(), 1).per_clip)
    assert not torch.allclose(losses["text"], losses["all"])
