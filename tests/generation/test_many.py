"""`generate_many`: the same clips however they are batched and interrupted, and a record of each row."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from videofusion.clip import read_clip, read_provenance
from videofusion.clip.check import to_uint8
from videofusion.errors import InputError, RunError
from videofusion.generation import maker
from videofusion.generation.many import Form, Summary, generate_many
from videofusion.models import load

FORM = Form(ending=".webp", scale=1)
ROWS = [
    {"prompt": "red three", "seed": 1},
    {"prompt": "three", "seed": 2, "id": "short", "frames": 2},
    {"prompt": "red", "seed": 3},
    {"prompt": "red", "seed": 1, "motion_seed": 7},
    {"prompt": "red red", "seed": 3},
]


@pytest.fixture
def run(saved_model: Path, tmp_path: Path) -> Callable[..., Summary]:
    """Make rows in a folder of `tmp_path`."""

    def run(rows: list[Any], out: str = "out", **options: Any) -> Summary:
        file = tmp_path / "prompts.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = {"model": saved_model, "form": FORM, "device": "cpu", "bar": False, **options}
        return generate_many(
            file, tmp_path / out, **{**options, "defaults": {"steps": 2, **options.get("defaults", {})}}
        )

    return run


class Pipe:
    """Grey clips of the row's seed; notes the seeds of each call, and calls back before it answers."""

    takes_fps = False
    config = SimpleNamespace(frames=16)

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None] = lambda call: None) -> None:
        self.calls: list[list[int]] = []
        self._before = before
        monkeypatch.setattr(maker, "load", lambda model, device, precision: self)

    def __call__(self, prompt: list[str], *, seed: list[int], frames: int | None, **settings: Any) -> Tensor:
        self.calls.append(seed)
        self._before(len(self.calls))
        if "bad" in prompt:
            raise InputError("prompt is 'bad'\nsecond line")
        shades = torch.tensor(seed).reshape(-1, 1, 1, 1, 1) / 10
        return shades.expand(len(seed), frames or 3, 3, 8, 8).clone()

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def clips_of(out: Path) -> dict[str, Tensor]:
    return {file.name: read_clip(file) for file in sorted(out.glob("*.webp"))}


def test_each_clip_is_the_pipeline_s_own_and_batches_change_none(
    run: Callable[..., Summary], saved_model: Path, tmp_path: Path
) -> None:
    for batch in (1, 3):
        done = run(ROWS, str(batch), batch=batch)
        assert (done.made, done.failed, done.left, done.exit_code) == (5, {}, 0, 0)
    pipe = load(saved_model, device="cpu")
    ones, threes = clips_of(tmp_path / "1"), clips_of(tmp_path / "3")
    names = ["000001", "short", "000003", "000004", "000005"]
    assert sorted(ones) == sorted(threes) == sorted(f"{name}.webp" for name in names)
    for row, name in zip(ROWS, names, strict=True):
        settings = {key: value for key, value in row.items() if key not in ("prompt", "id")}
        own = pipe(row["prompt"], steps=2, **settings)
        for made in (ones, threes):  # what the pipeline guarantees of a batch is far below a level of 8 bits
            torch.testing.assert_close(made[f"{name}.webp"], own, atol=1.01 / 127.5, rtol=0)
    assert read_provenance(tmp_path / "1" / "short.webp")["prompt"] == "three"


def test_a_clip_depends_on_the_size_of_its_batch_by_rounding_and_on_its_neighbours_not_at_all(
    saved_model: Path,
) -> None:
    """So a row that is made after a stop, in what is left of its batch, is the same clip, if not the same bytes."""
    pipe, seeds = load(saved_model, device="cpu"), [1, 2, 3, 4]
    whole = pipe(["red three"] * 4, seed=seeds, steps=3)
    turned = pipe(["red three"] * 4, seed=seeds[2:] + seeds[:2], steps=3)
    assert torch.equal(turned, whole.roll(2, 0))
    for size in (1, 2, 3):
        parts = [pipe(["red three"] * len(each), seed=each, steps=3) for each in (seeds[:size], seeds[size:])]
        assert (to_uint8(torch.cat(parts)).int() - to_uint8(whole).int()).abs().max() <= 1


def test_rows_of_equal_settings_share_batches(run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe(monkeypatch)
    run(ROWS, batch=3)
    assert pipe.calls == [[1, 3, 1], [3], [2]]


def test_goes_on_where_it_stopped_and_then_has_nothing_to_do(
    run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(call: int) -> None:
        if call == 2:
            raise KeyboardInterrupt

    Pipe(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        run(ROWS, batch=2)
    first = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in clips_of(tmp_path / "out")}
    assert len(first) == 2
    (tmp_path / "out" / "000001.webp").unlink()  # lost since: to be made again
    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"row": 4, "id": "0000')
    pipe = Pipe(monkeypatch)
    done = run(ROWS, batch=2)
    assert (done.made, done.before) == (4, 1)
    assert sorted(seed for call in pipe.calls for seed in call) == [1, 1, 2, 3]
    assert (tmp_path / "out" / "000003.webp").stat().st_mtime_ns == first["000003.webp"]
    monkeypatch.setattr(maker, "load", lambda model, **options: pytest.fail("loaded"))
    assert run(ROWS, batch=2) == Summary(made=0, before=5, failed={}, left=0, stopped_by=None)
    assert {line["id"] for line in lines(tmp_path / "out")} == {"000001", "short", "000003", "000004", "000005"}


def test_latents_that_cannot_be_decoded_are_kept(
    run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = Pipe(monkeypatch)

    def decode(latents: Tensor) -> Tensor:
        if latents.max() > 0.15:
            raise RuntimeError("no room")
        return latents

    monkeypatch.setattr(pipe, "decode", decode)
    done = run([{"prompt": "a", "seed": 1}, {"prompt": "b", "seed": 2, "id": "two"}], batch=2)
    kept = "two.latents.safetensors"
    assert done.failed == {"two": f"the latents could not be decoded and are kept in {kept}: no room"}
    assert load_file(tmp_path / "out" / kept)["latents"].max() == pytest.approx(0.2)
    assert list(clips_of(tmp_path / "out")) == ["000001.webp"]


def test_a_failed_row_is_named_with_its_reason_and_the_rest_are_made(
    run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Pipe(monkeypatch)
    rows = [{"prompt": "a", "seed": 1}, {"prompt": "bad", "id": "x"}, {"prompt": "b", "seed": 2}, {"seed": 3}]
    done = run(rows, batch=3)
    assert done.failed == {"x": "prompt is 'bad'", "000004": "prompt is missing"}
    assert (done.made, done.exit_code) == (2, 1)
    assert capsys.readouterr().err == "row 4: prompt is missing\nrow 2 (id \"x\"): prompt is 'bad'\n"
    states = {line["id"]: (line["state"], line.get("reason")) for line in lines(tmp_path / "out")}
    assert states["x"] == ("failed", "prompt is 'bad'")
    assert states["000001"] == states["000003"] == ("done", None)
    mended = [*rows[:1], {"prompt": "good", "id": "x"}, rows[2], {"prompt": "c"}]
    assert run(mended) == Summary(made=2, before=2, failed={}, left=0, stopped_by=None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_after_the_batch_in_hand(
    run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    handler = signal.getsignal(number)
    Pipe(monkeypatch, lambda call: os.kill(os.getpid(), number))
    done = run(ROWS, batch=2)
    assert done == Summary(made=2, before=0, failed={}, left=3, stopped_by=number.name)
    assert done.exit_code == code
    assert signal.getsignal(number) is handler
    Pipe(monkeypatch)
    assert run(ROWS, batch=2).made == 3


def test_a_made_row_with_other_settings_is_refused_before_any_work(
    run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pipe(monkeypatch)
    run(ROWS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(maker, "load", lambda model, **options: pytest.fail("loaded"))
    for options, sentence in (
        ({"defaults": {"steps": 3}}, r'id "000001" .* steps \(2 there, 3 now\); use another folder'),
        ({"form": Form(ending=".webp", scale=2)}, r"scale \(1 there, 2 now\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            run(ROWS, **options)
    with pytest.raises(InputError, match=r"prompt \('red three' there, 'three' now\)"):
        run([{"prompt": "three", "seed": 1}, *ROWS[1:]])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_model_of_other_weights_is_refused_and_a_copy_is_not(
    run: Callable[..., Summary], saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pipe(monkeypatch)
    run(ROWS[:1])
    copy = tmp_path / "copy"
    for path in saved_model.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(saved_model)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(saved_model)).write_bytes(path.read_bytes())
    assert run(ROWS[:1], model=copy).before == 1
    with pytest.raises(InputError, match=r"weights \('\w+' there, '\w+ in bfloat16' now\)"):
        run(ROWS[:1], precision="bfloat16")
    weights = next(copy.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"weights \('\w+' there, '\w+' now\)"):
        run(ROWS[:1], model=copy)


def test_a_full_disk_ends_the_work_and_what_is_made_stays(
    run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pipe(monkeypatch)
    write = maker.write_clip

    def full(clip: Tensor, path: Path, *rest: Any, **options: Any) -> None:
        if path.name == "000003.webp":
            raise RunError(f'"{path}" could not be written: No space left on device')
        write(clip, path, *rest, **options)

    monkeypatch.setattr(maker, "write_clip", full)
    with pytest.raises(RunError, match="No space left"):
        run(ROWS, batch=1)
    assert [line["id"] for line in lines(tmp_path / "out")] == ["000001"]
    monkeypatch.setattr(maker, "write_clip", write)
    assert run(ROWS).made == 4


def test_a_clip_without_numbers_fails_its_own_row_only(
    run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    Pipe(monkeypatch)
    done = run([{"prompt": "a", "seed": 1}, {"prompt": "b", "seed": 99}], batch=2)
    assert done.made == 1
    assert "they must be finite and in [-1, 1]" in done.failed["000002"]


def test_bad_arguments_are_refused_before_the_folder_is_made(run: Callable[..., Summary], tmp_path: Path) -> None:
    for options, sentence in (
        ({"batch": 0}, "batch is 0"),
        ({"precision": "fp16"}, "precision is 'fp16'; it must be one of float32, bfloat16"),
        ({"form": Form(ending=".avi")}, 'the ending ".avi"'),
        ({"model": tmp_path / "none"}, "is unknown"),
        ({"defaults": {"stepz": 2}}, 'key "stepz" is unknown'),
    ):
        with pytest.raises(InputError, match=sentence):
            run(ROWS, **options)
    assert not (tmp_path / "out").exists()


ENDLESS = [
    {"prompt": "red", "size": "80000x80000"},
    {"prompt": "red", "size": "8x80000"},
    {"prompt": "red", "frames": 10**9},
    {"prompt": "red", "steps": 10**9},
    {"prompt": "red", "seed": 10**30},
    {"prompt": "red", "motion_seed": -(10**30)},
    {"prompt": "red", "guidance": 1e300},
    {"prompt": "red\ud800"},
]


def test_rows_that_ask_for_too_much_fail_and_the_rest_is_made_again_and_again(
    run: Callable[..., Summary], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [*ENDLESS, {"prompt": "red", "id": "good"}]
    for made in (1, 0, 0):
        found = run(rows, batch=4)
        assert found.made == made
        assert {f"{number:06d}" for number in (1, 2, 3, 4, 5, 6, 8)} <= found.failed.keys()
        assert "good" not in found.failed
    assert (tmp_path / "out" / "good.webp").is_file()
    capsys.readouterr()


def test_a_lack_of_memory_fails_its_own_row_only(run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    def before(call: int) -> None:
        if call == 1:
            raise MemoryError("Unable to allocate 1.2 TiB")

    Pipe(monkeypatch, before)
    found = run(ROWS[:1] + ROWS[2:3], batch=1)
    assert found.made == 1
    assert found.failed == {"000001": "Unable to allocate 1.2 TiB"}
