"""What the packets of a video file say, and whether all that its container promises is there."""

from __future__ import annotations

import re
from typing import NamedTuple

from av.container import InputContainer
from av.packet import Packet as AVPacket
from av.video.stream import VideoStream

from videofusion.data.footage import Unreadable


class Packet(NamedTuple):
    """What is known of a frame that is not decoded: its time, its end, and marks of the container."""

    pts: int | None
    end: int
    key: bool
    discarded: bool
    corrupt: bool

    @staticmethod
    def of(packet: AVPacket) -> Packet:
        end = (packet.pts or 0) + (packet.duration or 0)
        return Packet(packet.pts, end, packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def shown_packets(container: InputContainer, stream: VideoStream, missing: str | None) -> list[Packet]:
    """The packets of all frames that are to be shown: those that an edit list cuts off are not.

    Args:
        container: an opened file.
        stream: of it.
        missing: what `check_matroska` misses at its end, which may be no more than an index.

    Raises:
        Unreadable: fewer are there than the container promises, or none.
    """
    # Only what is said here is kept: together the packets are the whole file.
    packets = [Packet.of(packet) for packet in container.demux(stream) if packet.size]
    if stream.frames > len(packets):
        raise Unreadable(f"truncated: {len(packets)} of its {stream.frames} frames are there")
    if any(packet.corrupt for packet in packets):
        raise Unreadable("damaged: the container marks a packet as corrupt")
    promised = _seconds(stream.metadata.get("DURATION", ""))  # of the track, as FFmpeg writes it into Matroska
    there = max((packet.end for packet in packets), default=0) * float(stream.time_base or 1)
    if promised is None:
        if missing:
            raise Unreadable(missing)
    elif promised - there > 1 / float(stream.average_rate or 25):
        raise Unreadable(f"truncated: {there:.2f} of its {promised:.2f} s are there")
    shown = [packet for packet in packets if not packet.discarded]
    if not shown:
        raise Unreadable("there is no frame in it")
    return shown


def _seconds(text: str) -> float | None:
    """Hours, minutes and seconds as "00:01:02.5", None if it is nothing such."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", text)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else None
