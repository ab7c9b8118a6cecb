"""How many clips a second the loader reads, against plain loops over PyAV, OpenCV and torchcodec.

    python benchmarks/loader_speed.py                         # 16x128x128 out of 320x240 mp4, 2 processes each

The videos are made in a temporary folder: H.264 as FFmpeg writes it when told nothing else (a key frame every 250
frames, B-frames). A clip is 16 frames in a row from a random place, resized to cover 128x128 and cut, as floats in
[-1, 1] in the main process. All take turns in one run; a row is the median of its turns. The loader is shown without
its cache of decoded videos, and with it, which the others have not. The processes of a loop hand over bytes, and work
as many clips ahead as the loader's.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from measure import machine

FRAMES, SIZE, HEIGHT, WIDTH, FPS = 16, 128, 240, 320, 30
COVER = (128, 171)  # height and width of a whole frame that covers the clip's
Clip = np.ndarray


def write_videos(folder: Path, count: int, seconds: int) -> list[Path]:
    """Textured shapes that move over a textured ground, with a little noise, as cameras have."""
    import av

    paths = []
    for number in range(count):
        draw = np.random.default_rng(number)
        ground = np.kron(draw.integers(0, 255, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.int16)
        shapes = [(draw.integers(0, 255, (60, 60, 3)), draw.uniform(0, 1, 2), draw.uniform(-3, 3, 2)) for _ in range(4)]
        path = folder / f"{number:03d}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=FPS)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            for frame in range(seconds * FPS):
                picture = np.roll(ground, frame // 2, 1)
                for texture, start, speed in shapes:
                    top, left = (
                        int((s * (side - 60) + v * frame) % (side - 60))
                        for s, v, side in zip(start, speed, (HEIGHT, WIDTH), strict=True)
                    )
                    picture[top : top + 60, left : left + 60] = texture
                picture = (picture + draw.integers(-4, 5, picture.shape)).clip(0, 255).astype(np.uint8)
                shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
                shown.pts, shown.time_base = frame, Fraction(1, FPS)
                file.mux(stream.encode(shown))
            file.mux(stream.encode(None))
        paths.append(path)
    return paths


def cut(picture: Clip) -> Clip:
    """The middle of a frame."""
    left = (picture.shape[1] - SIZE) // 2
    return picture[:, left : left + SIZE]


def by_pyav(task: tuple[str, int]) -> Clip:
    """Seek to the key frame before, decode up to the clip, let FFmpeg scale."""
    import av

    path, start = task
    frames = []
    with av.open(path) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1
        first = round(start / FPS / float(stream.time_base))
        file.seek(first, stream=stream)
        for frame in file.decode(stream):
            if frame.pts >= first:
                frames.append(cut(frame.to_ndarray(format="rgb24", height=COVER[0], width=COVER[1])))
            if len(frames) == FRAMES:
                break
    return np.stack(frames)


def by_opencv(task: tuple[str, int]) -> Clip:
    """Set the position, read, resize by areas."""
    import cv2

    cv2.setNumThreads(1)
    path, start = task
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    video.set(cv2.CAP_PROP_POS_FRAMES, start)
    frames = []
    for _ in range(FRAMES):
        _, frame = video.read()
        small = cv2.resize(frame, COVER[::-1], interpolation=cv2.INTER_AREA)
        frames.append(cut(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
    return np.stack(frames)


def by_torchcodec(task: tuple[str, int]) -> Clip:
    """Its own decoder for ranges, then the resizing of torch."""
    from torchcodec.decoders import VideoDecoder

    path, start = task
    decoder = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode="approximate")
    frames = decoder.get_frames_in_range(start, start + FRAMES).data
    small = torch.nn.functional.interpolate(frames, COVER, mode="bilinear", antialias=True)
    left = (COVER[1] - SIZE) // 2
    return small[..., left : left + SIZE].permute(0, 2, 3, 1).numpy()


def rate_of(batches: Iterator[object], batch: int, clips: int) -> float:
    """Clips a second, from the first batch on: the start of the processes does not count."""
    next(batches)
    begin = time.perf_counter()
    for _ in range(clips // batch):
        next(batches)
    return clips // batch * batch / (time.perf_counter() - begin)


def loop(read: Callable[[tuple[str, int]], Clip], paths: list[Path], frames: int, batch: int, workers: int) -> Iterator:
    """Batches of clips from a pool of processes, in order."""
    draw = np.random.default_rng(0)
    tasks = ((str(paths[int(draw.integers(len(paths)))]), int(draw.integers(frames - FRAMES))) for _ in range(10**5))
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        waiting = [pool.apply_async(read, (next(tasks),)) for _ in range(4 * batch)]  # as far ahead as the loader
        while True:
            clips = []
            for _ in range(batch):
                clips.append(torch.from_numpy(waiting.pop(0).get()))
                waiting.append(pool.apply_async(read, (next(tasks),)))
            yield torch.stack(clips).movedim(-1, 2).float().div_(127.5).sub_(1)


def ours(folder: Path, batch: int, workers: int, cache: int) -> Iterator:
    """Batches of the loader."""
    from videofusion.data.folder import VideoFolder
    from videofusion.data.loader import Loader

    data = VideoFolder(folder, frames=FRAMES, size=SIZE, cache_bytes=cache)
    yield from Loader(data, batch, workers=workers).starting(0)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=10, help="of each video")
    parser.add_argument("--clips", type=int, default=96, help="of each turn")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rivals = {
        "PyAV loop": ("av", by_pyav),
        "OpenCV loop": ("cv2", by_opencv),
        "torchcodec": ("torchcodec", by_torchcodec),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = write_videos(folder, args.videos, args.seconds)
        start: dict[str, Callable[[], Iterator]] = {
            "ours": lambda: ours(folder, args.batch, args.workers, 0),
            "ours, cached": lambda: ours(folder, args.batch, args.workers, 512 * 2**20),
        }
        for name, (module, read) in rivals.items():
            try:
                importlib.import_module(module)
            except (ImportError, RuntimeError, OSError) as error:
                print(f"{name}: does not load here ({str(error).strip().splitlines()[0]})")
                continue
            start[name] = lambda read=read: loop(read, paths, args.seconds * FPS, args.batch, args.workers)
        rates: dict[str, list[float]] = {name: [] for name in start}
        for _, (name, begin) in itertools.product(range(args.repeats), start.items()):
            batches = begin()
            rates[name].append(rate_of(batches, args.batch, args.clips))
            batches.close()
            print(f"{name}: {rates[name][-1]:.1f} clips/s in this turn", flush=True)
    print(machine().partition(";")[0])
    print(f"| {'':12} | clips/s | ours is times faster | (turns) |\n|{'-' * 14}|--------:|---------:|---|")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        turns = " ".join(f"{each:.1f}" for each in rates[name])
        print(f"| {name:12} | {value:7.1f} | {medians['ours'] / value:8.2f} | {turns} |")


if __name__ == "__main__":
    main()
