"""A folder of small videos of which some are damaged by a script, and what FFmpeg makes of each file.

    python tests/data/damage.py FOLDER 1000 200      # makes it, and prints a line for each file that was touched

Nothing of `videofusion` is used here, so that its own reading can be compared with this.
"""

from __future__ import annotations

import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAMES, HEIGHT, WIDTH = 20, 48, 64
# name of a kind: ending, codec, container options, codec options
KINDS = {
    "h264": (".mp4", "libx264", {"movflags": "faststart"}, {"bf": "2"}),
    "h264-late": (".mp4", "libx264", {}, {"bf": "0"}),
    "mov": (".mov", "libx264", {"movflags": "faststart"}, {"x264-params": "open-gop=1:bframes=3"}),
    "mpeg4": (".mp4", "mpeg4", {"movflags": "faststart"}, {}),
    "matroska": (".mkv", "libx264", {}, {"bf": "2"}),
    "vp9": (".webm", "libvpx-vp9", {}, {"deadline": "realtime", "cpu-used": "8"}),
    "vp8": (".webm", "libvpx", {}, {"deadline": "realtime", "cpu-used": "8"}),
    "xvid": (".avi", "mpeg4", {}, {}),
    "mjpeg": (".avi", "mjpeg", {}, {}),
    "gif": (".gif", "", {}, {}),
}
ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp", ".m4v")
_HUGE = 0x7FFFFFFF


def pictures(seed: int, count: int = FRAMES) -> list[np.ndarray]:
    """A noisy block that moves over a gradient: every frame differs, and a file has bits to lose."""
    draw = np.random.default_rng(seed)
    across = np.linspace(0, 200, WIDTH)[None, :, None] + np.linspace(0, 50, HEIGHT)[:, None, None]
    ground = np.broadcast_to(across + draw.integers(0, 5, 3), (HEIGHT, WIDTH, 3)).astype(np.uint8)
    block = draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    frames = []
    for number in range(count):
        frame = ground.copy()
        left, top = (number * 2 + seed) % (WIDTH - 16), (number + 3 * seed) % (HEIGHT - 16)
        frame[top : top + 16, left : left + 16] = np.roll(block, number, 0)
        frames.append(frame)
    return frames


def write_video(path: Path, kind: str, seed: int) -> None:
    """One good video of a kind; another seed is another video."""
    _, codec, container, options = KINDS[kind]
    frames = pictures(seed)
    if not codec:
        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=rest, duration=100, loop=0)
        return
    with av.open(str(path), "w", options=container) as file:
        stream = file.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.gop_size, stream.bit_rate = WIDTH, HEIGHT, 8, 400_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))


def make_folder(folder: Path, count: int, damaged: int, *, seed: int = 0, variants: int = 4) -> dict[str, str]:
    """Write `count` videos, a tenth of them under wrong endings, and damage `damaged` of the others.

    Returns:
        what was done to it, by name, of every file that was touched; a wrong ending is no damage.
    """
    folder.mkdir(parents=True)
    bases = []
    for kind, (ending, *_) in KINDS.items():
        for variant in range(variants):
            path = folder / f".{kind}-{variant}{ending}"
            write_video(path, kind, variant)
            bases.append((kind, ending, path.read_bytes()))
            path.unlink()
    draw = np.random.default_rng(seed)
    touched = set(draw.permutation(count)[:damaged].tolist())
    ways = list(WAYS)
    done = {}
    for number in range(count):
        kind, ending, data = bases[int(draw.integers(len(bases)))]
        name = f"{number:04d}-{kind}"
        if number in touched:
            way = ways[len(done) % len(ways)]
            while way == "no moov" and ending not in (".mp4", ".mov"):
                kind, ending, data = bases[int(draw.integers(len(bases)))]
                name = f"{number:04d}-{kind}"
            data, what = WAYS[way](data, draw)
            done[f"{name}{ending}"] = f"{way}: {what}" if what else way
        elif draw.random() < 0.1:
            ending = str(draw.choice([other for other in ENDINGS if other != ending]))
        (folder / f"{name}{ending}").write_bytes(data)
    return done


def truncated(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    kept = int(len(data) * draw.uniform(0.01, 0.99))
    return data[:kept], f"{kept} of {len(data)} bytes"


def flipped(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """Some bits anywhere, the headers included."""
    changed = bytearray(data)
    places = draw.integers(0, len(data), int(draw.integers(1, 30)))
    for place in places:
        changed[place] ^= 1 << int(draw.integers(8))
    return bytes(changed), f"{len(places)} bits"


def text(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    return b"<html><body>404: this video is not available</body></html>\n" * int(draw.integers(1, 200)), ""


def empty(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    return b"", ""


def without_moov(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """The box is cut out, or stands under another name."""
    place = data.index(b"moov") - 4
    if draw.random() < 0.5:
        return data[: place + 4] + b"free" + data[place + 8 :], "renamed"
    (size,) = struct.unpack_from(">I", data, place)
    return data[:place] + data[place + size :], "cut out"


def absurd(data: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """A number in a header that is a size becomes enormous."""
    fields = sizes_in(data)
    what = str(draw.choice(sorted(fields)))
    return fields[what](), what


def sizes_in(data: bytes) -> dict[str, Callable[[], bytes]]:
    """The sizes that a file's headers have, by what they are of; each makes the file with it enormous."""
    if data[4:8] == b"ftyp":
        return _sizes_in_mp4(data)
    if data.startswith(b"RIFF"):
        return _sizes_in_avi(data)
    if data.startswith(b"GIF8"):
        first = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1)) if data[10] & 0x80 else data.index(b"\x2c", 13)
        return {
            "screen of 65535x65535": lambda: _put(data, 6, "<HH", 65535, 65535),
            "screen of 12000x12000": lambda: _put(data, 6, "<HH", 12000, 12000),
            "picture of 65535x65535": lambda: _put(data, first + 5, "<HH", 65535, 65535),
        }
    return _sizes_in_matroska(data)


def _sizes_in_mp4(data: bytes) -> dict[str, Callable[[], bytes]]:
    entry, sizes, times = (data.index(name) for name in (b"stsd", b"stsz", b"stts"))
    (samples,) = struct.unpack_from(">I", data, sizes + 12)
    track, runs = data.index(b"tkhd"), data.index(b"stsc")

    def one_size() -> bytes:
        """Samples of one byte each, as many as a run of one chunk may have: an index of gigabytes, if it is made."""
        changed = _put(data, sizes + 8, ">II", 1, 200_000_000)
        changed = _put(changed, runs + 12, ">II", 1, 200_000_000)
        return _put(changed, times + 12, ">I", 200_000_000)

    fields = {
        "width and height of the sample entry": lambda: _put(data, entry + 12 + 32, ">HH", 65535, 65535),
        "width and height of the track": lambda: _put(data, track + 80, ">II", 65535 << 16, 65535 << 16),
        "sample count": lambda: _put(data, sizes + 12, ">I", _HUGE),
        "sample count of a gigabyte": lambda: _put(data, sizes + 12, ">I", 250_000_000),
        "samples of one size": one_size,
        "size of a sample": lambda: _put(data, sizes + 16 + 4 * (samples // 2), ">I", _HUGE),
        "samples of one duration": lambda: _put(data, times + 12, ">I", _HUGE),
        "size of the index": lambda: _put(data, data.index(b"moov") - 4, ">I", _HUGE),
    }
    if b"avcC" in data:
        fields["size of the coded picture"] = lambda: _wide_h264(data)
    else:
        fields["size of the coded picture"] = lambda: _wide_mpeg4(data)
    return fields


def _sizes_in_avi(data: bytes) -> dict[str, Callable[[], bytes]]:
    main, stream, form = (data.index(name) for name in (b"avih", b"strh", b"strf"))
    chunk = data.index(b"00dc", data.index(b"movi"))
    fields = {
        "frames of the file": lambda: _put(data, main + 8 + 16, "<I", _HUGE),
        "frames of the stream": lambda: _put(data, stream + 8 + 32, "<I", _HUGE),
        "width and height of the format": lambda: _put(data, form + 8 + 4, "<II", 1_000_000, 1_000_000),
        "size of a frame": lambda: _put(data, chunk + 4, "<I", _HUGE),
        "size of the format": lambda: _put(data, form + 4, "<I", _HUGE),
    }
    if b"\0\0\1\x20" in data:
        fields["size of the coded picture"] = lambda: _wide_mpeg4(data)
    else:
        fields["size of the coded picture"] = lambda: _wide_jpeg(data)
    return fields


def _sizes_in_matroska(data: bytes) -> dict[str, Callable[[], bytes]]:
    wide = data.index(b"\xb0\x81" + bytes([WIDTH]))
    cluster = data.index(b"\x1f\x43\xb6\x75")
    fields = {
        "width and height of the track": lambda: data[: wide + 2] + b"\xff" + data[wide + 3 :],
        "size of a cluster": lambda: data[: cluster + 4] + b"\x08\xff\xff\xff\xff" + data[cluster + 9 :],
        "size of a frame": lambda: _wide_block(data),
    }
    if b"avcC" in data or b"V_MPEG4/ISO/AVC" in data:
        fields["size of the coded picture"] = lambda: _wide_h264(data)
    elif b"\x9d\x01\x2a" in data:
        fields["size of the coded picture"] = lambda: _put(data, data.index(b"\x9d\x01\x2a") + 3, "<HH", 16383, 16383)
    else:
        fields["size of the coded picture"] = lambda: _wide_vp9(data)
    return fields


def _wide_block(data: bytes) -> bytes:
    """The first SimpleBlock says that it has 2^27 bytes."""
    block = data.index(b"\xa3", data.index(b"\x1f\x43\xb6\x75") + 12)
    length = 9 - data[block + 1].bit_length()
    return data[: block + 1] + b"\x18\x00\x00\x00" + data[block + 1 + length :]


def _wide_h264(data: bytes) -> bytes:
    """Sequence parameters with 1000 x 1000 blocks of 16 pixels (256 million) in the place of the true ones."""
    place = data.index(b"\xff\xe1", data.index(b"avcC") if b"avcC" in data else data.index(b"V_MPEG4")) + 2
    (size,) = struct.unpack_from(">H", data, place)
    bits = "".join(f"{byte:08b}" for byte in data[place + 2 : place + 2 + size].replace(b"\0\0\3", b"\0\0"))
    position = 32  # after type, profile, constraints, level

    def skip() -> tuple[int, int]:
        nonlocal position
        start, zeros = position, 0
        while bits[position] == "0":
            zeros, position = zeros + 1, position + 1
        position += zeros + 1
        return start, position

    profile = data[place + 3]
    skip()
    if profile >= 100:  # chroma, two depths, bypass, no scaling matrices
        skip(), skip(), skip()
        position += 2
    skip()
    start = position
    skip()
    order = int(bits[start:position], 2) - 1
    if order == 0:
        skip()
    skip()
    position += 1
    begin = position
    skip(), skip()
    number = f"{1000:b}"
    code = "0" * (len(number) - 1) + number
    bits = bits[:begin] + code + code + bits[position:]
    bits += "0" * (-len(bits) % 8)
    changed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    # The boxes around keep their lengths: the trailing bytes of the box are overwritten, or cut off.
    changed = changed[:size] if len(changed) > size else changed + b"\0" * (size - len(changed))
    return data[: place + 2] + changed + data[place + 2 + size :]


def _wide_mpeg4(data: bytes) -> bytes:
    """Width and height of each video object layer become 8190; each has 13 bits between marker bits."""
    wanted = f"1{WIDTH:013b}1{HEIGHT:013b}1"
    changed, place = bytearray(data), 0
    while (place := data.find(b"\0\0\1\x20", place)) >= 0:
        bits = "".join(f"{byte:08b}" for byte in data[place : place + 40])
        at = bits.index(wanted)
        bits = bits[:at] + f"1{8190:013b}1{8190:013b}1" + bits[at + len(wanted) :]
        changed[place : place + 40] = bytes(int(bits[at : at + 8], 2) for at in range(0, 320, 8))
        place += 4
    return bytes(changed)


def _wide_jpeg(data: bytes) -> bytes:
    changed, place = bytearray(data), 0
    while (place := data.find(b"\xff\xc0", place)) >= 0:
        struct.pack_into(">HH", changed, place + 5, 16000, 16000)
        place += 4
    return bytes(changed)


def _wide_vp9(data: bytes) -> bytes:
    """The first key frame says 16000x16000: 16 bits each of size - 1, after its sync code and colours."""
    place = data.index(b"\x49\x83\x42")
    bits = "".join(f"{byte:08b}" for byte in data[place : place + 16])
    wanted = f"{WIDTH - 1:016b}{HEIGHT - 1:016b}"
    at = bits.index(wanted)
    bits = bits[:at] + f"{15999:016b}{15999:016b}" + bits[at + 32 :]
    return data[:place] + bytes(int(bits[at : at + 8], 2) for at in range(0, 128, 8)) + data[place + 16 :]


def _put(data: bytes, place: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


WAYS: dict[str, Callable[[bytes, np.random.Generator], tuple[bytes, str]]] = {
    "truncated": truncated,
    "flipped": flipped,
    "text": text,
    "empty": empty,
    "no moov": without_moov,
    "absurd": absurd,
}


if __name__ == "__main__":
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    for name, way in make_folder(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])).items():
        print(f"{name}  {way}")
