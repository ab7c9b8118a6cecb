"""Frames of a video file by number, exactly those and none that the decoder made up.

PyAV (FFmpeg) reads containers, Pillow reads animated images. Damage is an error here:
FFmpeg would rather paint over a hole, and a network would learn the paint.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from videofusion.video.animation import PILLOW_ERRORS, decode_pictures, frames_of, is_animation
from videofusion.video.footage import MOST_PIXELS, Data, Frame, Unreadable, byte_count, head, readable
from videofusion.video.matroska import check_matroska
from videofusion.video.packets import Packet, film, shown_packets, timeline
from videofusion.video.upright import shown_size, square_size, upright

# FFmpeg looks at the first frames when it opens a file, with a decoder of its own that has to know these too.
_STRICT = {"err_detect": "explode", "max_pixels": str(MOST_PIXELS)}
# FFmpeg's own decoders leave out the transparency of these.
_SEES_THROUGH = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Transfer characteristics of high dynamic range (ITU-T H.273).
_HDR = {16: "HDR (PQ)", 18: "HDR (HLG)"}


@dataclass(frozen=True, kw_only=True)
class Video:
    """What the packets of a file say about its frames, none of them decoded yet.

    Args:
        path: the file.
        codec: e.g. "h264", "gif".
        width: of the frames as they are shown: turned as the file says, with square pixels.
        height: of the same.
        times: seconds from the first frame to each frame, increasing [n].
        fps: frames per second on average.
        stamps: presentation time stamp of each frame in the stream's unit, increasing [n]; None where
            they do not tell frames apart (AVI has none, some are equal) and frames can only be counted from the start.
        keys: the stamps at which decoding may start, increasing.
        repeats: for animated images, the number of the stored picture that each frame shows [n].
        end: seconds from the first frame to the end of the last, where the file says it.
        stream: which of the file's streams it is.
        aspect: width of a stored pixel by its height.
        traits: what is not as usual about its pictures: "interlaced", "HDR (PQ)", ...
    """

    path: Data
    codec: str
    width: int
    height: int
    times: NDArray[np.float64]
    fps: float
    stamps: NDArray[np.int64] | None = None
    keys: NDArray[np.int64] | None = None
    repeats: NDArray[np.int64] | None = None
    end: float | None = None
    stream: int = 0
    aspect: Fraction = Fraction(1)
    traits: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def seconds(self) -> float:
        """Length, the last frame's own share included."""
        return float(self.times[-1]) + 1 / self.fps if self.end is None else self.end

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        return decode(self, numbers, cover)


@dataclass(frozen=True)
class VideoFile:
    """A video file, on its own or in an archive."""

    data: Data

    def open(self) -> Video:
        return open_video(self.data)


def open_video(path: Data) -> Video:
    """Read a file's packets (no picture is decoded) and check that none is missing.

    Raises:
        Unreadable: no video, an empty or a truncated one.
    """
    try:
        if byte_count(path) == 0:
            raise Unreadable("the file is empty")
        if is_animation(path):
            return _open_animation(path)
        missing = check_matroska(path)
        with _opened(path) as container:
            return _index(container, path, missing)
    except FileNotFoundError as error:
        raise Unreadable("there is no such file") from error
    except av.FFmpegError as error:
        raise Unreadable(_cannot_open(path, error)) from error
    except PILLOW_ERRORS as error:
        raise Unreadable(f"cannot be opened: {_one_line(error)}") from error


def decode(video: Video, wanted: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
    """Decode the frames with these numbers, in rising order (a number given twice comes twice).

    Args:
        video: of which.
        wanted: the numbers.
        cover: (height, width) to which frames are resized on the way out of the decoder, so that they cover it;
            animated images come as they are.

    Raises:
        Unreadable: a frame on the way, or one that is asked for, is damaged or missing.
    """
    numbers = sorted(int(number) for number in wanted)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(video):
        raise IndexError(f"frames {numbers[0]} to {numbers[-1]} of a video of {len(video)}")
    try:
        if video.repeats is not None:
            yield from decode_pictures(video.path, video.repeats[numbers])
        elif video.stamps is None:
            yield from _decode_counting(video, numbers, cover)
        else:
            yield from _decode_stamps(video, video.stamps[numbers], cover)
    except av.FFmpegError as error:
        raise Unreadable(f"damaged: {_one_line(error)}") from error
    except PILLOW_ERRORS as error:
        raise Unreadable(f"damaged: {_one_line(error)}") from error


def decode_all(video: Video) -> None:
    """Decode every frame, and keep none.

    Raises:
        Unreadable: a frame is damaged, or fewer come out than went in.
    """
    if video.repeats is not None:
        count = sum(1 for _ in decode(video, range(len(video))))
    else:
        count = sum(1 for _ in _frames(video, None))
    if count < len(video):
        raise Unreadable(f"damaged: {len(video) - count} of {len(video)} frames do not come out of the decoder")


def _opened(path: Data) -> av.container.InputContainer:
    # Playlists may name other files, but nothing that is elsewhere; titles may be no text.
    options = {**_STRICT, "protocol_whitelist": "file"}
    return av.open(readable(path), "r", options=options, metadata_errors="replace")


def _index(container: av.container.InputContainer, path: Data, missing: str | None) -> Video:
    stream = film(container)
    if container.format.name == "image2":  # by its name alone: FFmpeg takes whatever ends in .webp for a picture
        raise Unreadable("not a video")
    if stream.codec_context is None:
        raise Unreadable("FFmpeg knows no decoder for what is in it")
    shown = shown_packets(container, stream, missing, path)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    if container.format.name == "avi" and _out_of_order(stream, shown):
        shown = [packet._replace(pts=None) for packet in shown]  # FFmpeg made it up
    stamps = keys = None
    marks = np.array([packet.pts for packet in shown if packet.pts is not None], np.int64)
    if len(marks) == len(shown) == len(np.unique(marks)) and not _goes_back(shown):
        stamps = np.sort(marks)
        keys = np.unique(np.array([packet.pts for packet in shown if packet.key], np.int64))
        times = (stamps - stamps[0]) * float(stream.time_base or 1)
    else:
        times = timeline(shown, rate, float(stream.time_base or 1))
    if len(times) > 1:
        rate = (len(times) - 1) / float(times[-1])
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    height, width = square_size(stream.height, stream.width, aspect)
    if height * width > MOST_PIXELS:
        raise Unreadable(f"its frames are {width}x{height}; at most {MOST_PIXELS:,} pixels are read")
    height, width, traits = _looks(container, stream, aspect) or (height, width, ())
    return Video(
        path=path,
        codec=stream.codec_context.codec.canonical_name,
        width=width,
        height=height,
        times=times,
        fps=rate,
        stamps=stamps,
        keys=keys,
        stream=stream.index,
        aspect=aspect,
        traits=traits,
    )


def _out_of_order(stream: av.VideoStream, packets: list[Packet]) -> bool:
    return stream.codec_context.has_b_frames or any(packet.pts != packet.dts for packet in packets)


def _goes_back(packets: list[Packet]) -> bool:
    """Whether decoding times fall, as where files were appended to each other."""
    stamps = [packet.dts for packet in packets if packet.dts is not None]
    return any(after < before for before, after in itertools.pairwise(stamps))


def _looks(
    container: av.container.InputContainer, stream: av.VideoStream, aspect: Fraction
) -> tuple[int, int, tuple[str, ...]] | None:
    """What only a frame tells: height and width as shown, and what is unusual; None where the first is damaged."""
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _STRICT
    try:
        container.seek(stream.start_time or 0, stream=stream)
        frame = next(container.decode(stream))
    except (av.FFmpegError, StopIteration):
        return None  # who asks for the frame is told
    interlaced = frame.interlaced_frame or stream.codec_context.field_order > 1
    traits = ("interlaced" if interlaced else "", _HDR.get(frame.color_trc, ""))
    return (*shown_size(frame, aspect), tuple(trait for trait in traits if trait))


def _frames(
    video: Video, seek_to: int | None, wanted: NDArray[np.int64] | None = None
) -> Generator[av.VideoFrame, None, None]:
    """Frames from a key frame on; of those whose stamps are not among the wanted, perhaps not all."""
    needed = None if wanted is None else {*wanted.tolist(), None}
    with _opened(video.path) as container:
        stream = container.streams[video.stream]
        decoder = _decoder(stream)
        # One thread: the loader's workers are the parallel part, and a frame costs the same anywhere.
        decoder.thread_count = 1
        decoder.options = _STRICT
        if seek_to is not None:
            container.seek(seek_to, stream=stream, backward=True)
        reached, skips = 0.0, False
        try:
            for packet in container.demux(stream):
                # What no other frame refers to need not be decoded if it is not wanted.
                if (needed is not None and packet.pts not in needed) != skips:
                    skips = not skips
                    decoder.skip_frame = "NONREF" if skips else "DEFAULT"
                for frame in decoder.decode(packet):
                    reached = frame.time or 0.0
                    if frame.is_corrupt:
                        raise Unreadable(f"damaged at {reached:.2f} s: a corrupt frame")
                    yield frame
        except av.FFmpegError as error:
            raise Unreadable(f"damaged after {reached:.2f} s: {_one_line(error)}") from error


def _decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    codec = stream.codec_context.codec.canonical_name
    if stream.metadata.get("alpha_mode") != "1" or codec not in _SEES_THROUGH:
        return stream.codec_context
    if _SEES_THROUGH[codec] not in av.codecs_available:
        raise Unreadable(f"its transparency needs the decoder {_SEES_THROUGH[codec]}, which this FFmpeg has not")
    return cast(av.VideoCodecContext, av.CodecContext.create(_SEES_THROUGH[codec], "r"))


def _decode_stamps(video: Video, stamps: NDArray[np.int64], cover: tuple[int, int] | None) -> Iterator[Frame]:
    if len(stamps) == 0:
        return
    assert video.keys is not None
    earlier = video.keys[video.keys <= stamps[0]]
    start = int(earlier[-1]) if len(earlier) > 1 else None
    position, converter = 0, VideoReformatter()
    # Containers seek by decoding time, some streams need frames before their key frame, and a decoder may know less
    # of what refers to what than it says: where a picture comes out damaged or not at all, begin at the beginning
    # and skip nothing.
    for start_at, wanted in ((start, stamps), (None, None)):
        frames = _frames(video, start_at, wanted)
        try:
            for frame in frames:
                while position < len(stamps) and frame.pts == stamps[position]:
                    yield upright(frame, converter, video.aspect, cover)
                    position += 1
                if position == len(stamps):
                    return
                if frame.pts is not None and frame.pts > stamps[position]:
                    break
        except Unreadable:
            if wanted is None or position > 0:
                raise
        finally:
            frames.close()
    raise Unreadable(f"damaged: {len(stamps) - position} of {len(stamps)} frames do not come out of the decoder")


def _decode_counting(video: Video, numbers: list[int], cover: tuple[int, int] | None) -> Iterator[Frame]:
    position, converter, size = 0, VideoReformatter(), None
    for count, frame in enumerate(_frames(video, None)):
        if size not in (None, (frame.height, frame.width)):
            # Some decoders drop what they hold where the size changes: from here on the count may be wrong.
            raise Unreadable(f"their size changes at frame {count}, and nothing but their order tells frames apart")
        size = (frame.height, frame.width)
        while position < len(numbers) and count == numbers[position]:
            yield upright(frame, converter, video.aspect, cover)
            position += 1
        if position == len(numbers):
            return
    if position < len(numbers):
        raise Unreadable(f"damaged: {len(numbers) - position} of {len(numbers)} frames do not come out of the decoder")


def _open_animation(path: Data) -> Video:
    codec, width, height, repeats, ends = frames_of(path)
    times, end = np.concatenate([[0.0], ends[:-1]]), float(ends[-1])
    return Video(
        path=path,
        codec=codec,
        width=width,
        height=height,
        times=times,
        fps=len(times) / end,
        repeats=repeats,
        end=end,
    )


def _cannot_open(path: Data, error: Exception) -> str:
    if head(path, 8)[4:] == b"ftyp":
        return "truncated or damaged: the index of the MP4 is missing"
    return f"not a video that FFmpeg can open: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    """What FFmpeg or Pillow said, without numbers of their own and file names."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")
