"""`data encode` and the layout `encoded`: the clips that encoding in training gives, to the bit, or a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from videofusion.data.batch import BadClip, Batch
from videofusion.data.checking import check_folder
from videofusion.data.encode import encode, kept_frames
from videofusion.data.folder import VideoFolder
from videofusion.data.items import Encoding
from videofusion.data.layouts.detection import detect, open_source
from videofusion.data.loader import Loader
from videofusion.errors import InputError
from videofusion.networks.autoencoder import Latents
from videofusion.video.decode import open_video

MADE = Encoding(autoencoder="a", height=16, width=16)


class Halves:
    """An encoder: means of 2x2 pixels, and a fourth channel of ones."""

    def encode(self, clip: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool2d(clip[0], 2)[None]
        return torch.cat([small, torch.ones_like(small[:, :, :1])], dim=2)


class Lengths:
    """A text encoder: the length of a text."""

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        rows = torch.tensor([[[len(prompt), 1.0]] * 3 for prompt in prompts])
        return rows, torch.tensor([[True, True, False]] * len(prompts))


@pytest.fixture(scope="module")
def videos(video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos at 10 frames a second, and one that breaks off."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate("abcd"):
        video(folder / f"{name}.mp4", 12 + number, height=16, width=20)
    broken = folder / "b.mp4"
    broken.write_bytes(broken.read_bytes()[:400])
    rows = [{"file_name": f"{name}.mp4", "text": [name, name * 4], "action": name} for name in "abcd"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def out(videos: Path, tmp_path: Path) -> Path:
    encode(open_source(videos), tmp_path / "out", MADE, Halves(), Lengths(), shard_bytes=1)
    return tmp_path / "out"


def data(path: Path, **changes: object) -> VideoFolder:
    return VideoFolder(path, **{"frames": 4, "size": 16, "clips": 2, **changes})


@pytest.mark.parametrize("rate", [{"stride": (1, 2)}, {"fps": 5}, {"fps": (4, 9)}])
def test_clips_are_those_that_are_encoded_in_training(videos: Path, out: Path, rate: dict[str, object]) -> None:
    assert detect(out) == ("encoded", out)
    plain, encoded = data(videos, **rate), data(out, **rate)
    assert plain.captions == encoded.captions
    assert plain.actions == encoded.actions
    for index in range(len(plain)):
        for epoch in range(3):
            try:
                one = plain.sample(index, epoch)
            except BadClip as error:
                with pytest.raises(BadClip, match=error.name):
                    encoded.sample(index, epoch)
                continue
            other = encoded.sample(index, epoch)
            assert torch.equal(other.clip, Halves().encode(one.clip[None])[0])
            assert other.encoded
            assert not one.encoded
            assert (other.caption, other.name, other.fps) == (one.caption, one.name, one.fps)
            assert other.text is not None
            assert other.text[0][0, 0] == len(one.caption)


@pytest.mark.parametrize("rate", [{"stride": 2}, {"fps": 5}])
def test_frames_are_kept_to_the_bit_where_only_texts_are_encoded(
    videos: Path, rate: dict[str, object], tmp_path: Path
) -> None:
    encode(open_source(videos), tmp_path / "out", Encoding(text="t", height=16, width=16), None, Lengths())
    plain, kept = data(videos, **rate), data(tmp_path / "out", **rate)
    for index in range(len(plain)):
        if plain.names[index // 2] == "b.mp4":
            continue
        one, other = plain.sample(index, 1), kept.sample(index, 1)
        assert torch.equal(one.clip, other.clip)
        assert not other.encoded
        assert other.text is not None
        assert other.text[0][0, 0] == len(one.caption)
    with pytest.raises(InputError, match="autoencoder and text are both not given"):
        encode(open_source(videos), tmp_path / "nothing", Encoding(height=16, width=16), None)


def test_batches_are_the_same_with_a_broken_video_among_them(videos: Path, out: Path) -> None:
    one, other = Loader(data(videos), 3, seed=5), Loader(data(out), 3, seed=5)
    for number in range(4):  # over the end of an epoch
        plain, encoded = one.batch(number), other.batch(number)
        assert torch.equal(encoded.clip, torch.stack([Halves().encode(clip[None])[0] for clip in plain.clip]))
        assert (plain.names, plain.captions) == (encoded.names, encoded.captions)
        assert encoded.encoded
        assert encoded.text is not None
        assert encoded.text[0].shape == (3, 3, 2)
        assert encoded.text[1].shape == (3, 3)
    assert one.report == other.report
    assert list(one.report) == ["b.mp4"]
    for split in ("train", "val"):
        assert data(videos, split=split).names == data(out, split=split).names


def test_a_real_autoencoder_gives_the_same_bits_before_and_in_training(
    videos: Path, saved_vae: Path, tmp_path: Path
) -> None:
    from videofusion.interop.autoencoders import load_autoencoder

    space = Latents(load_autoencoder(saved_vae))
    encode(open_source(videos), tmp_path / "out", MADE, space)
    plain, encoded = Loader(data(videos), 3), Loader(data(tmp_path / "out"), 3)
    for number in range(2):
        assert torch.equal(space.encode(plain.batch(number).clip), encoded.batch(number).clip)
    assert encoded.batch(0).text is None


def test_goes_on_where_it_was_stopped(videos: Path, out: Path, tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    def begin(progress: Callable[[int, int], None] | None = None) -> dict[str, str]:
        again = tmp_path / "again"
        told = encode(open_source(videos), again, MADE, Halves(), Lengths(), shard_bytes=1, progress=progress)
        assert told[0] == 3
        return told[1]

    with pytest.raises(KeyboardInterrupt):
        begin(stop)
    assert sorted(file.name for file in (tmp_path / "again").glob("*.safetensors")) == ["00000.safetensors"]
    with pytest.raises(InputError, match="is only partly encoded"):
        data(tmp_path / "again")
    done: list[int] = []
    assert list(begin(lambda number, of: done.append(number))) == ["b.mp4"]
    assert done[0] == 2
    for file in out.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    done.clear()
    assert list(begin(lambda number, of: done.append(number))) == ["b.mp4"]
    assert not done


def test_frames_at_another_rate_are_those_on_screen(videos: Path) -> None:
    video = open_video(videos / "a.mp4")
    numbers, times = kept_frames(video, 5)
    assert numbers.tolist() == [0, 2, 4, 6, 8, 10]
    assert np.allclose(times, numbers / 10)
    numbers, _ = kept_frames(video, 20)
    assert numbers.tolist() == sorted([*range(12), *range(12)])
    numbers, times = kept_frames(video, None)
    assert np.array_equal(times, video.times)


def test_a_kept_rate_is_the_clips_rate(videos: Path, tmp_path: Path) -> None:
    made = Encoding(autoencoder="a", height=16, width=16, fps=5)
    encode(open_source(videos), tmp_path / "out", made, Halves())
    clips = data(tmp_path / "out", fps=5)
    assert clips.sample(0).clip.shape == (4, 4, 8, 8)
    assert clips.sample(0).fps == pytest.approx(5)
    with pytest.raises(InputError, match="encoded at fps 5, but fps 10 is asked for"):
        data(tmp_path / "out", fps=10)
    with pytest.raises(InputError, match="encoded at fps 5, but stride 2 is asked for"):
        data(tmp_path / "out", stride=2)


def test_what_encoding_has_decided_cannot_be_asked_for(out: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="encoded at size 16x16, but clips of 8x8"):
        data(out, size=8)
    with pytest.raises(InputError, match="crop is random, but"):
        data(out, crop="random")
    with pytest.raises(InputError, match="flip is True, but"):
        data(out, flip=True)
    with pytest.raises(InputError, match=r"no encoded.json"):
        data(videos, layout="encoded")
    other = Encoding(autoencoder="b", height=16, width=16)
    with pytest.raises(InputError, match="started with autoencoder a, but autoencoder is b now"):
        encode(open_source(videos), out, other, Halves())
    with pytest.raises(InputError, match="is already encoded"):
        encode(open_source(out), tmp_path / "twice", MADE, Halves())
    with pytest.raises(InputError, match="name a new folder"):
        encode(open_source(videos), videos, MADE, Halves())
    (out / "encoded.json").write_text((out / "encoded.json").read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError, match="of format 2; this version reads format 1"):
        data(out)


def test_another_source_does_not_go_on_with_it(videos: Path, out: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for name in ("c", "d"):
        (fewer / f"{name}.mp4").symlink_to(videos / f"{name}.mp4")
    with pytest.raises(InputError, match=r"started with other videos: a.mp4 where c.mp4 is now"):
        encode(open_source(fewer), out, MADE, Halves())


def test_check_names_the_broken_video_and_damaged_shards(out: Path) -> None:
    assert [name for name, _ in check_folder(out)] == ["b.mp4"]
    shard = sorted(out.glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"cannot be read .*; delete it"):
        data(out)


def test_a_batch_of_pixels_has_no_text() -> None:
    assert Batch(torch.zeros(1, 1, 3, 2, 2), [""], [""], torch.zeros(1)).text is None
