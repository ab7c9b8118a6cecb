"""What is counted, against tensors whose sizes are known."""

import mmap
import sys

import pytest
import torch
from torch import nn

from videofusion.training.estimate.memory import Held, Memory, Pages, Watch, count_parts, human, packed_bytes


def test_live_and_peak_follow_the_tensors():
    with Watch() as watch:
        a = torch.zeros(1000)
        b = a + 1
        view = b[:10].reshape(2, 5)  # no memory of its own
        assert watch.live == 8000
        del b
        assert watch.live == 8000
        del view
        assert watch.live == 4000
        a.add_(1)
        assert watch.take_peak() == 8000
        assert watch.take_peak() == 4000


def test_graph_keeps_what_the_backward_pass_reads_and_each_once():
    x = torch.zeros(1000, requires_grad=True)
    with Watch() as watch:
        product = x * x  # x was there before
        assert watch.saved == 0
        once = product.exp()  # exp keeps what it returns
        assert watch.saved == 4000
        twice = once.square() + once.sin()  # both keep the same tensor
        assert watch.saved == 4000
        twice.sum().backward()
        assert watch.live >= x.grad.nbytes


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3))


def test_without_computing_the_same_is_counted():
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            module, x = net(), torch.zeros(2, 3, 16, 16)
        with Watch() as watch:
            loss = module(x).square().mean()
            forward = watch.saved, watch.live
            loss.backward()
        counts.append((*forward, watch.take_peak(), watch.live))
    assert counts[0] == counts[1]
    assert counts[0][0] > 0


def test_arithmetic_of_numbers_is_that_of_tensors():
    module = net()
    module[0].requires_grad_(False)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    part = count_parts({"net": module})[0]
    assert part.frozen == 3 * 8 * 9 + 8
    assert part.trained + part.frozen == sum(parameter.numel() for parameter in module.parameters())
    tensors = Held.by_tensors(module.parameters(), module.parameters(), trained)
    numbers = Held.by_numbers(part.trained, part.frozen)
    assert (tensors.weights, tensors.average, tensors.gradients) == (
        numbers.weights,
        numbers.average,
        numbers.gradients,
    )
    assert tensors.moments == numbers.moments + 4 * len(trained)  # the counts of steps
    optimizer = torch.optim.AdamW(trained)
    module(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = [value for values in optimizer.state.values() for value in values.values()]
    assert tensors.moments == sum(value.nbytes for value in state)


def test_shared_weights_count_once():
    weight = torch.zeros(10)
    assert Held.by_tensors([weight, weight.view(2, 5)], [], []).weights == 40


def test_sharing_divides_all_but_the_activations():
    whole, share = Held.by_numbers(2_000_000_000, 600_000_000), Held.by_numbers(2_000_000_000, 600_000_000, ranks=8)
    assert whole.resident == 4 * (2 * 2_600_000_000 + 2 * 2_000_000_000)
    assert share.resident * 8 == whole.resident
    assert Held.by_numbers(1000, 1000, averaged=1000).average == 4000


def test_peak_is_what_stays_with_the_largest_phase():
    held = Held(weights=10, average=10, gradients=5, moments=10)
    memory = Memory(held=held, batches=3, activations=40, phases={"step": 50, "samples": 70}, slack=7)
    assert memory.peak == 10 + 10 + 10 + 3 + 70 + 7


def test_only_tensors_out_of_order_are_copied_for_writing():
    last = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert packed_bytes([torch.zeros(5), last]) == last.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of pages is Linux's")
def test_pages_grow_by_what_is_written():
    pages = Pages()
    block, count = b"1" * 2**20, 64
    # a tensor may lie where one of an earlier test was, which the process has still
    with mmap.mmap(-1, size := count * len(block)) as fresh:
        for _ in range(count):
            fresh.write(block)
    assert 0.98 * size <= pages.most() < 1.5 * size  # the system counts in strides


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (1234, "1.23 kB"), (5e7, "50 MB"), (3.21e9, "3.21 GB"), (4.1e12, "4,100 GB")]
)
def test_bytes_as_people_read_them(count, text):
    assert human(count) == text
