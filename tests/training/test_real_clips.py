"""Training on real people: VideoFusion that shares base noise within a person and residual noise within an action."""

import json

import pytest
from small import smallest

import videofusion as vf
from videofusion.training.trainer import train


@pytest.mark.slow
@pytest.mark.parametrize(("grouped", "share"), [(False, 0.5), (True, 0.9)])  # the second as in sec. 4.7 of VideoFusion
def test_learns_from_real_people(shared_data, tmp_path, grouped, share):
    recipe = smallest(
        "folder64-small",
        **{
            "clips.size": 32,
            "clips.frames": 8,
            "clips.stride": 3,
            "network.patch": 2,
            "batch.frames": 4,
            "batch.size": 4,
            "optimizer.learning_rate": 3e-3,
            "system.grouped": grouped,
            "system.share": share,
            "optimizer.ema_decay": 0.9,
            "clips.validation_share": 0.2,
            "log.validation_batches": 2,
            "log.validation_interval": 10,
            "checkpoints.interval": 60,
            "budget.steps": 60,
            "diffusion.time_logit": (),
        },
    )
    found = train(recipe, tmp_path / "run", shared_data / "weizmann64", bar=False)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert not [line for line in log if "left out" in str(line.get("text"))]
    losses = [line["loss"] for line in log if line["event"] == "validation"]
    assert losses[-1] < 0.75 * losses[0]
    clip = vf.load(found.model)("a person bending down", seed=0, steps=2)
    assert clip.shape == (8, 3, 32, 32)
