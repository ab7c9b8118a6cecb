"""Whether a file is whole, by a decoder that knows nothing of `videofusion`: the judge of `data check`."""

from __future__ import annotations

from pathlib import Path

import av

# What a header says of a picture's size is believed up to 8192 x 4608, as in docs/data.md.
STRICT = {"err_detect": "explode", "max_pixels": str(8192 * 4608)}
av.logging.set_level(av.logging.WARNING)


def complaint(path: Path) -> str | None:
    """Decode all frames with `err_detect=explode`; why that fails or falls short, None if all is there."""
    if path.stat().st_size == 0:
        return "no bytes"
    try:
        promised, hidden = promise(path)
        with av.open(str(path), options=STRICT, metadata_errors="replace") as file:
            stream = file.streams.video[0]
            if stream.codec_context is None:
                return "no decoder"
            stream.codec_context.thread_count = 1
            stream.codec_context.options = STRICT
            with av.logging.Capture() as said:
                frames = sum(1 for _ in file.decode(stream))
    except IndexError:
        return "no video stream"
    except (av.FFmpegError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    # The GIF decoder has no `err_detect`: it goes on and complains.
    if said and stream.codec_context.name == "gif":
        return said[0][2].strip()
    if frames == 0:
        return "no frame"
    if frames < promised - hidden:
        return f"{frames} of {promised} frames, {hidden} of which are not to be shown"
    return None


def promise(path: Path) -> tuple[int, int]:
    """How many frames the container promises, and how many of them it says are not to be shown (edit lists)."""
    data = path.read_bytes()
    if data.startswith(b"GIF8"):
        return pictures_of_gif(data), 0
    with av.open(str(path), options=STRICT, metadata_errors="replace") as file:
        stream = file.streams.video[0]
        packets = [packet for packet in file.demux(stream) if packet.size]
        if any(packet.is_corrupt for packet in packets):  # a motion JPEG of half a frame is decoded without a word
            raise ValueError("a packet is cut short")
        hidden = sum(packet.is_discard for packet in packets)
        if stream.frames:
            return stream.frames, hidden
        # Matroska counts no frames, but has the length of each track, and of one frame.
        length = stream.metadata.get("DURATION")
        if length is None or not stream.average_rate:
            return 1, hidden
        hours, minutes, seconds = length.split(":")
        return round((3600 * int(hours) + 60 * int(minutes) + float(seconds)) * float(stream.average_rate)), hidden


def pictures_of_gif(data: bytes) -> int:
    """Walk through the blocks of a GIF to its end mark; raises ValueError where there is none."""
    try:
        place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
        count = 0
        while data[place] != 0x3B:
            if data[place] == 0x2C:
                count += 1
                place += 10 + (3 << (data[place + 9] & 7) + 1 if data[place + 9] & 0x80 else 0) + 1
            elif data[place] == 0x21:
                place += 2
            else:
                raise ValueError(f"a block of the GIF begins with {data[place]:#x}")
            while data[place]:
                place += data[place] + 1
            place += 1
    except IndexError as error:
        raise ValueError("the GIF has no end mark") from error
    return count
