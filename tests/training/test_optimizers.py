"""AdamW with moments in 32 and in 8 bits."""

import pytest
import torch
from test_trainer import assert_same_state
from toy import ToySystem, toy_recipe, toy_trainer

from videofusion.errors import InputError
from videofusion.training.optimizers import check_optimizer, moment_bytes

LARGE = 160  # features, so that a convolution has more than 4,096 weights


def test_moments_of_8_bits_by_arithmetic():
    assert moment_bytes([10, 5000], eight_bit=False) == 8 * 5010
    assert moment_bytes([10, 5000], eight_bit=True) == 8 * 10 + 2 * 5000 + 2 * 4 * 20


def test_a_missing_package_is_named_before_the_run_begins(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"videofusion\[8bit\]"):
        check_optimizer(toy_recipe(**{"optimizer.name": "adamw8bit"}))


def test_8_bits_learn_as_32_do_and_resume_to_the_same_bits(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra 8bit is not installed")
    options = {"optimizer.name": "adamw8bit", "optimizer.schedule": "constant", "optimizer.learning_rate": 1e-3}
    whole = toy_trainer(tmp_path / "whole", ToySystem(width=LARGE), **options)
    whole.train()
    kept = whole.state.checkpoint().optimizer
    assert kept["state1/net.0.weight"].dtype == torch.uint8
    assert kept["state1/net.0.bias"].dtype == torch.float32

    toy_trainer(tmp_path / "parts", ToySystem(width=LARGE), **{"budget.steps": 5}, **options).train()
    parts = toy_trainer(tmp_path / "parts", ToySystem(width=LARGE), **options)
    parts.train()
    assert_same_state(parts.state.checkpoint(), whole.state.checkpoint())

    exact = toy_trainer(tmp_path / "exact", ToySystem(width=LARGE), **{**options, "optimizer.name": "adamw"})
    before = exact.state.tensors["net.0.weight"].detach().clone()
    exact.train()
    moved, other = (t.state.tensors["net.0.weight"].detach() - before for t in (exact, whole))
    alike = torch.nn.functional.cosine_similarity(moved.flatten(), other.flatten(), dim=0)
    assert alike > 0.98
    assert not torch.equal(moved, other)


def test_8_bits_do_not_go_with_shards():
    pytest.importorskip("bitsandbytes", reason="the extra 8bit is not installed")
    with pytest.raises(InputError, match="shard is True"):
        check_optimizer(toy_recipe(**{"optimizer.name": "adamw8bit", "compute.shard": True}))
