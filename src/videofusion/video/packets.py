"""Packets of a video file, and whether everything that its container promises is there."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.packet import Packet as AVPacket
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from videofusion.video.avi import empty_chunks
from videofusion.video.footage import Data, Unreadable

# A track of these beside a film is its cover, or pictures of its chapters.
_PICTURES = ("mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls", "svg")


class Packet(NamedTuple):
    """What is known of a frame that is not decoded: its time, its end, and marks of the container."""

    pts: int | None
    dts: int | None
    end: int
    key: bool
    discarded: bool
    corrupt: bool

    @staticmethod
    def of(packet: AVPacket) -> Packet:
        end = (packet.pts or 0) + (packet.duration or 0)
        return Packet(packet.pts, packet.dts, end, packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def film(container: InputContainer) -> VideoStream:
    """The stream that a player shows: no cover, pictures only if there is no film, else the default, else the first.

    Raises:
        Unreadable: there is none.
    """
    if not container.streams.video:
        raise Unreadable("there is no video stream in it")
    beside = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & beside]
    if not streams:
        raise Unreadable("there is no video in it, only a cover picture")

    def rank(stream: VideoStream) -> tuple[bool, bool, bool]:
        codec = "" if stream.codec_context is None else stream.codec_context.codec.canonical_name
        return not codec, codec in _PICTURES, not stream.disposition & Disposition.default

    return min(streams, key=rank)


def shown_packets(
    container: InputContainer, stream: VideoStream, missing: str | None, path: Data | None = None
) -> list[Packet]:
    """The packets of all frames that are to be shown: those that an edit list cuts off are not.

    Args:
        container: an opened file.
        stream: of it.
        missing: what `check_matroska` misses at its end, which may be no more than an index.
        path: the file; an AVI has empty chunks where a frame is to be shown once more.

    Raises:
        Unreadable: fewer are there than the container promises, or none.
    """
    # Only what is said here is kept: together the packets are the whole file.
    packets = [Packet.of(packet) for packet in container.demux(stream) if packet.size]
    frames = len(packets)
    if stream.frames > frames and path is not None and container.format.name == "avi":
        frames += empty_chunks(path, stream.index)
    if stream.frames > frames:
        raise Unreadable(f"truncated: {len(packets)} of its {stream.frames} frames are there")
    if any(packet.corrupt for packet in packets):
        raise Unreadable("damaged: the container marks a packet as corrupt")
    promised = _seconds(stream.metadata.get("DURATION", ""))  # of the track, as FFmpeg writes it into Matroska
    tick = float(stream.time_base or 1)
    there = max((packet.end for packet in packets), default=0) * tick
    if promised is None:
        if missing:
            raise Unreadable(missing)
    elif promised - there > max(1 / float(stream.average_rate or 25), 0 if missing else _last_length(packets) * tick):
        raise Unreadable(f"truncated: {there:.2f} of its {promised:.2f} s are there")
    shown = [packet for packet in packets if not packet.discarded]
    if not shown:
        raise Unreadable("there is no frame in it")
    return shown


def timeline(packets: list[Packet], rate: float, tick: float) -> NDArray[np.float64]:
    """Seconds from the first frame to each, increasing, of packets whose stamps do not tell frames apart.

    Frames with equal stamps share the time up to the next stamp. Where decoding times go back, as in files that were
    appended to each other, what follows begins when the frame before has been shown for 1 / `rate`. Where there are no
    presentation times, as in an AVI, those of decoding stand for them: frames are shown in some order at these.

    Args:
        packets: of all frames, in the order of decoding.
        rate: frames per second.
        tick: seconds that a stamp counts.
    """
    told = [packet.pts if packet.dts is None else packet.dts for packet in packets]
    if any(stamp is None for stamp in told):
        return np.arange(len(packets)) / rate
    decoding = np.array(told, np.float64) * tick
    by_pts = all(packet.pts is not None for packet in packets)
    shown = np.array([packet.pts for packet in packets], np.float64) * tick if by_pts else decoding
    starts = [0, *(np.flatnonzero(np.diff(decoding) < 0) + 1).tolist(), len(packets)]
    times = np.empty(0)
    for start, end in itertools.pairwise(starts):
        part = np.sort(shown[start:end])
        after = times[-1] + 1 / rate if len(times) else 0.0
        times = np.concatenate([times, part - part[0] + after])
    values, firsts, counts = np.unique(times, return_index=True, return_counts=True)
    lengths = np.diff(values, append=values[-1] + 1 / rate)
    return np.repeat(values, counts) + (np.arange(len(times)) - np.repeat(firsts, counts)) * np.repeat(
        lengths / counts, counts
    )


def _last_length(packets: list[Packet]) -> int:
    """How long a last frame may be shown that does not say so: as long as any other; 0 where it says so."""
    stamps = sorted(packet.pts for packet in packets if packet.pts is not None)
    if not stamps or any(packet.end > stamps[-1] for packet in packets):
        return 0
    return 1 + max((after - before for before, after in itertools.pairwise(stamps)), default=0)


def _seconds(text: str) -> float | None:
    """Hours, minutes and seconds as "00:01:02.5", None if it is nothing such."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", text)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None
