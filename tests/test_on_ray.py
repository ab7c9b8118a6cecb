"""Work on Ray, with a Ray that is played: what it cannot do is a sentence."""

import sys
from types import SimpleNamespace

import pytest

from videofusion.errors import InputError, RunError
from videofusion.on_ray import check_ray, on_actors


class RayError(Exception):
    pass


@pytest.fixture
def played(monkeypatch):
    """A cluster with two cores; `gpus` and what becomes of the rows are a test's to change."""
    ray = SimpleNamespace(gpus=0, rows=lambda: iter([{"number": 0}]), asked={}, errors=[])
    context = SimpleNamespace(max_errored_blocks=7, enable_progress_bars=True)

    def mapped(worker, **options):
        ray.asked = options
        ray.errors.append(context.max_errored_blocks)
        return SimpleNamespace(iter_rows=lambda: ray.rows())

    ray.is_initialized = lambda: True
    ray.cluster_resources = lambda: {"CPU": 2.0, **({"GPU": float(ray.gpus)} if ray.gpus else {})}
    ray.exceptions = SimpleNamespace(RayError=RayError)
    ray.context = context
    ray.data = SimpleNamespace(
        DataContext=SimpleNamespace(get_current=lambda: context),
        from_items=lambda items, override_num_blocks: SimpleNamespace(map=mapped),
        ActorPoolStrategy=lambda size: size,
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    return ray


def work(**options):
    return list(on_actors(object, (), [{"number": 0}, {"number": 1}], workers=4, **options))


def test_a_gpu_that_no_machine_has_is_not_waited_for(played):
    with pytest.raises(InputError, match='device is "cuda:0", but no machine of the Ray cluster has a GPU'):
        work(device="cuda:0")
    played.gpus = 1
    assert work(device="cuda:0") == [{"number": 0}]
    assert played.asked["num_gpus"] == 1
    assert work(device="cpu") == [{"number": 0}]
    assert played.asked["num_gpus"] is None


def test_an_actor_that_cannot_be_made_ends_the_work_with_its_last_line(played):
    def broken():
        yield {"number": 1}
        raise RayError("Traceback ...\nOSError: no weights")

    played.rows = broken
    with pytest.raises(RunError, match="the work on Ray failed: OSError: no weights"):
        work()


def test_only_where_tries_are_counted_may_a_row_be_lost_and_nobody_elses_settings_change(played):
    work()
    work(tries=3)
    assert played.errors == [0, -1]
    assert played.asked["max_task_retries"] == 2
    assert played.context.max_errored_blocks == 7
    assert played.asked["compute"] == 2  # no more actors than work


def test_no_workers(played):
    with pytest.raises(InputError, match="workers is 0"):
        check_ray(0)
