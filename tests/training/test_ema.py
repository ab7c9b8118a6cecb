import pytest
import torch

from videofusion.training.ema import Ema


def test_follows_the_recurrence_with_warm_up():
    live = {"a": torch.tensor([1.0, 2.0], dtype=torch.float64), "b": torch.tensor([[3.0]], dtype=torch.float64)}
    ema = Ema(live, decay=0.5)
    expected = {name: value.clone() for name, value in live.items()}
    for n in range(20):
        for value in live.values():
            value.mul_(-0.7).add_(n)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        for name, value in live.items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in expected.items():
        torch.testing.assert_close(ema.shadow[name], value)


def test_decay_never_falls_and_reaches_its_value():
    ema = Ema({"a": torch.zeros(1)}, decay=0.9)
    decays = []
    for _ in range(100):
        decays.append(ema.next_decay())
        ema.update()
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == 0.9


def test_average_of_a_constant_is_that_constant_to_the_bit():
    live = {"a": torch.randn(100)}
    ema = Ema(live, decay=0.999)
    for _ in range(10):
        ema.update()
    assert torch.equal(ema.shadow["a"], live["a"])


def test_applied_puts_the_average_in_and_the_very_bits_back_even_after_an_error():
    live = {"a": torch.randn(5, requires_grad=True)}
    ema = Ema(live, decay=0.9)
    average = ema.shadow["a"].clone()
    with torch.no_grad():
        live["a"].add_(1)
    before, address = live["a"].detach().clone(), live["a"].data_ptr()
    seen = []
    with pytest.raises(KeyError), ema.applied():
        raise KeyError(seen.append(live["a"].detach().clone()))
    assert torch.equal(seen[0], average)
    assert torch.equal(live["a"], before)
    assert torch.equal(ema.shadow["a"], average)
    assert live["a"].data_ptr() == address
