"""Batches by number: the same however they are read, and without the clips that cannot be."""

from __future__ import annotations

import itertools
import logging
import math
import os
import signal
import time

import pytest
import torch

from videofusion.data.batch import BadClip, Batch, Sample
from videofusion.data.folder import VideoFolder
from videofusion.data.loader import Loader
from videofusion.data.sampler import ClipSampler
from videofusion.errors import InputError, RunError


class Numbers:
    """Clips that hold their index, epoch and seed; some are bad."""

    def __init__(self, length, bad=()):
        self.length, self.bad = length, set(bad)

    def __len__(self):
        return self.length

    def sample(self, index, epoch, seed):
        if index in self.bad:
            raise BadClip(f"clip {index}", "broken")
        clip = torch.tensor([index, epoch, seed], dtype=torch.float32).reshape(1, 3, 1, 1)
        return Sample(clip, f"number {index}", f"clip {index}")


class Together(Numbers):
    """The same, many at once."""

    def batch(self, indices, epoch, seed):
        return Batch.of([self.sample(index, epoch, seed) for index in indices], indices)


def same(one, other):
    return (
        torch.equal(one.clip, other.clip)
        and torch.equal(one.ids, other.ids)
        and (one.captions, one.names) == (other.captions, other.names)
    )


def first(loader, count, start=0):
    batches = list(itertools.islice(loader.starting(start), count))
    assert len(batches) == count
    return batches


@pytest.mark.parametrize("kind", [Numbers, Together])
def test_an_epoch_holds_each_clip_once_and_the_next_in_another_order(kind):
    batches = first(Loader(kind(10), 4, seed=5), 5)
    drawn = torch.cat([batch.clip[:, 0, :, 0, 0] for batch in batches]).int().tolist()
    epochs = [[index for index, epoch, _ in drawn if epoch == number] for number in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert {seed for _, _, seed in drawn} == {5}
    assert torch.cat([batch.ids for batch in batches]).tolist() == list(range(20))


def test_both_ways_to_read_agree():
    ways = [first(Loader(kind(7), 3, seed=1), 6) for kind in (Numbers, Together)]
    assert all(same(one, other) for one, other in zip(*ways, strict=True))


@pytest.mark.parametrize("start", [1, 4, 11])
def test_a_resumed_run_gets_the_same_batches(start):
    whole = first(Loader(Numbers(10, bad=[3]), 4, seed=2), 15)
    rest = first(Loader(Numbers(10, bad=[3]), 4, seed=2), 15 - start, start)
    assert all(same(one, other) for one, other in zip(whole[start:], rest, strict=True))


def test_another_seed_is_another_order():
    orders = [
        [name for batch in first(Loader(Numbers(50), 5, seed=seed), 10) for name in batch.names] for seed in range(3)
    ]
    assert len({tuple(order) for order in orders}) == 3


def test_where_a_clip_comes_in_an_epoch_says_nothing_of_how_it_is_cut():
    """One label for both had clips that came early begin early in their videos."""
    loader, cut = Loader(Numbers(2000), 1, seed=5), ClipSampler()
    draws = torch.tensor([cut.draws(int(index), 3, 5) for index in loader._permutation(3)])
    rows = torch.cat([torch.arange(2000.0)[None], draws.T])
    assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_draws_of_one(world):
    alone = first(Loader(Numbers(10, bad=[1, 2]), 2 * world, seed=3), 6)
    ranks = [first(Loader(Numbers(10, bad=[1, 2]), 2, seed=3, rank=rank, world=world), 6) for rank in range(world)]
    for number, batch in enumerate(alone):
        parts = [rank[number] for rank in ranks]
        assert torch.equal(torch.cat([part.clip for part in parts]), batch.clip)
        assert torch.cat([part.ids for part in parts]).tolist() == batch.ids.tolist()


def test_a_bad_clip_is_replaced_counted_and_said_once(caplog):
    loader = Loader(Numbers(10, bad=[3, 7]), 5, seed=0)
    with caplog.at_level(logging.WARNING):
        batches = first(loader, 8)
    assert all(len(batch) == 5 for batch in batches)
    assert not {"clip 3", "clip 7"} & {name for batch in batches for name in batch.names}
    assert loader.report == {"clip 3": "broken", "clip 7": "broken"}
    assert sorted(record.getMessage() for record in caplog.records) == [
        "clip 3 is left out: broken",
        "clip 7 is left out: broken",
    ]


def test_nothing_readable_is_a_sentence():
    with pytest.raises(InputError, match=r"none of the 5 clips can be read .*; and 2 more"):
        Loader(Numbers(5, bad=range(5)), 2).batch(0)
    with pytest.raises(InputError, match="no usable clip"):
        Loader(Numbers(0), 2)


def test_one_good_clip_is_enough():
    batch = Loader(Numbers(5, bad=[0, 1, 2, 4]), 6).batch(0)
    assert batch.names == ["clip 3"] * 6
    assert len(set(batch.ids.tolist())) == 6


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"workers": -1}, {"rank": 2, "world": 2}])
def test_bad_settings_are_sentences(settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))} is"):
        Loader(Numbers(5), **{"batch_size": 2, **settings})


# Python 3.12 warns of forks in a process with threads, which torch's workers are.
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*:DeprecationWarning", "ignore:This DataLoader will create:UserWarning"
)
def test_workers_change_nothing(video, tmp_path):
    for number in range(3):
        video(tmp_path / f"{number}.mp4", 12)
    (tmp_path / "bad.mp4").write_text("no video")
    loaders = [Loader(VideoFolder(tmp_path, frames=4, size=16), 3, seed=4, workers=workers) for workers in (0, 2)]
    batches = [first(loader, 5, start=2) for loader in loaders]
    assert all(same(one, other) for one, other in zip(*batches, strict=True))
    assert loaders[0].report == loaders[1].report
    assert list(loaders[0].report) == ["bad.mp4"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_take_nothing_from_the_global_generator():
    """Its state is in the run's checkpoints, and a run that went on would have drawn once more."""
    before = torch.get_rng_state()
    for _ in range(2):
        first(Loader(Numbers(4), 2, workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before)


class Slow(Numbers):
    """Reading takes 20 ms of the clock, half of them of the CPU."""

    def sample(self, index, epoch, seed):
        begin = time.process_time()
        while time.process_time() - begin < 0.01:
            pass
        time.sleep(0.01)
        return super().sample(index, epoch, seed)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_counts_what_it_costs(workers):
    loader = Loader(Slow(10), 2, workers=workers)
    batches = loader.starting(0)
    for _ in range(3):
        next(batches)
        waited = loader.waited
        time.sleep(0.02)  # what the caller does is no waiting
        assert loader.waited == waited
    assert loader.busy >= 6 * 0.01
    assert loader.waited >= (6 * 0.02 if workers == 0 else 2 * 0.02)


class Deadly(Numbers):
    def sample(self, index, epoch, seed):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # as a kernel out of memory does
        return super().sample(index, epoch, seed)


class Ended(Numbers):
    """A scheduler ends all processes of a job; a worker goes on until the run is done with it."""

    def sample(self, index, epoch, seed):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().sample(index, epoch, seed)


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*:DeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # torch raises it once more when its iterator goes
)
def test_a_killed_worker_is_a_sentence():
    with pytest.raises(RunError, match="process that reads clips"):
        first(Loader(Deadly(4), 2, workers=1), 20)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_outlive_a_sigterm_for_a_while():
    assert len(first(Loader(Ended(4), 2, workers=1), 20)) == 20


class Away(Numbers):
    def sample(self, index, epoch, seed):
        raise RunError("shard https://example.org/0.tar cannot be fetched: gone")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_ends_a_run_in_a_worker_is_said_as_it_was():
    with pytest.raises(RunError, match=r"^shard https://example\.org/0\.tar cannot be fetched: gone$"):
        first(Loader(Away(4), 2, workers=1), 1)
