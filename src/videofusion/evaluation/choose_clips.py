"""Selects the clips of a folder that a protocol compares, and refuses folders that it cannot compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from videofusion.data.checking import for_each_file
from videofusion.data.items import Item, Source
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError
from videofusion.evaluation.clip_sets import FolderClips, Pick, Video, without_ending
from videofusion.evaluation.protocols import Preset
from videofusion.evaluation.shared_files import shared_file
from videofusion.generation.results import NAME as RESULTS
from videofusion.generation.results import read_prompts
from videofusion.video.footage import Unreadable

Progress = Callable[[int, int], None]


def generated_clips(
    place: str | Path,
    preset: Preset,
    *,
    layout: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> FolderClips:
    """The generated clips of a folder: `count` of them, each from its first frame on.

    Where there are more, the seed decides which; the order is a random one too, since files come sorted by prompt, and
    the Inception Score looks at parts of them.

    Args:
        place: a folder, or anything that the data layer opens.
        preset: the protocol.
        layout: how it is laid out; see `layouts.open_source`.
        seed: of the draw.
        progress: called with (videos opened, videos in all).

    Raises:
        InputError: fewer clips than `count`, one that cannot be opened, is too short or too small, or mixed sizes.
    """
    if layout == "auto" and (Path(place) / RESULTS).is_file():
        layout = "folder"  # what `generate --prompts` wrote: its clips count, not its lines, some of which failed
    items = open_source(place, layout).files
    if (Path(place) / RESULTS).is_file():
        prompts = read_prompts(Path(place))
        items = [replace(item, captions=(prompts[item.name],)) if item.name in prompts else item for item in items]
    videos, bad = _survey(items, progress)
    if bad:
        name, reason = next(iter(bad.items()))
        raise InputError(f'generated clips: {len(bad)} in "{place}" cannot be used; "{name}": {reason}')
    _check_sizes("generated", place, videos, preset, mixed=False)
    short = [video for video in videos if video.frames < preset.frames]
    if short:
        raise InputError(
            f'generated clips: {len(short)} in "{place}" are too short; "{short[0].item.name}" has {short[0].frames} '
            f"frames, {preset.name} takes {preset.frames}"
        )
    _check_count("generated clips", place, len(videos), preset.count, preset)
    order = np.random.default_rng([seed, 0]).permutation(len(videos))[: preset.count]
    picks = [Pick(videos[i], tuple(range(preset.frames))) for i in order.tolist()]
    return FolderClips(place, videos, picks, {}, preset, "as given")


def real_clips(
    place: str | Path,
    preset: Preset,
    *,
    layout: str = "auto",
    seed: int = 0,
    mixed: bool = False,
    progress: Progress | None = None,
    partners: FolderClips | None = None,
) -> FolderClips:
    """The real clips of a protocol.

    Videos that are too short or cannot be opened are left out, and named in the record.

    Args:
        place: a folder, or anything that the data layer opens.
        preset: the protocol.
        layout: how it is laid out; see `layouts.open_source`.
        seed: of the draw.
        mixed: whether videos may be of several sizes.
        progress: called with (videos opened, videos in all).
        partners: the generated clips, where the protocol pairs the real ones with them.

    Raises:
        InputError: fewer clips than the protocol takes, no such part, mixed sizes, videos that are too small, or a
            generated clip without a real one of its name.
    """
    if preset.paired and partners is None:
        raise InputError(f"partners are not given, but {preset.name} pairs real clips with generated ones")
    source = open_source(place, layout)
    items, split = _part(source, preset, place)
    videos, left_out = _survey(items, progress)
    _check_sizes("real", place, videos, preset, mixed=mixed)
    span = preset.frames if preset.start == "spread" else (preset.frames - 1) * preset.stride + 1
    fitting = [video for video in videos if video.frames >= span]
    left_out |= {
        video.item.name: f"too short: {video.frames} frames, needed are {span}"
        for video in videos
        if video.frames < span
    }
    if not fitting:
        raise InputError(
            f'real clips: none in "{place}" is long enough; {preset.name} takes {preset.frames} frames, every '
            f"{preset.stride}, which is {span} of a video"
        )
    if preset.paired and partners is not None:
        picks = _partners(partners, fitting, left_out, preset, place)
    else:
        picks = _drawn(fitting, preset, span, seed, place)
    return FolderClips(place, fitting, picks, left_out, preset, split)


def check_apart(generated: FolderClips, real: FolderClips) -> None:
    """Refuse two sets that share a file, by its path or by its bytes.

    Raises:
        InputError: they do.
    """
    found = shared_file((v.item for v in generated.videos), (v.item for v in real.videos))
    if found is not None:
        raise InputError(
            f'generated and real clips share files: "{found[0]}" of {generated.place} is "{found[1]}" of {real.place}'
        )


def _part(source: Source, preset: Preset, place: str | Path) -> tuple[Iterable[Item], str]:
    """The videos of the protocol's part; data that name no parts are taken to be it."""
    parts = {item.split for item in source.items} - {""}
    if preset.split == "all" or not parts:
        return source.items, "as given"
    found = [item for item in source.items if item.split == preset.split]
    if not found:
        raise InputError(
            f'real clips: {preset.name} takes the {preset.split} part, but "{place}" names {", ".join(sorted(parts))}'
        )
    return found, f"{preset.split}, as the data name it"


def _survey(items: Iterable[Item], progress: Progress | None) -> tuple[list[Video], dict[str, str]]:
    """Open all videos; reason by name for those that cannot be."""

    def look(item: Item) -> Video | str:
        try:
            footage = item.open()
            return Video(item, len(footage), footage.height, footage.width)
        except Unreadable as error:
            return str(error)

    listed = list(items)
    found = for_each_file(listed, look, progress)
    bad = {item.name: each for item, each in zip(listed, found, strict=True) if isinstance(each, str)}
    return [each for each in found if isinstance(each, Video)], bad


def _check_sizes(kind: str, place: str | Path, videos: Sequence[Video], preset: Preset, *, mixed: bool) -> None:
    sizes: dict[tuple[int, int], str] = {}
    for video in videos:
        sizes.setdefault((video.width, video.height), video.item.name)
    if len(sizes) > 1 and not mixed:
        (first, one), (second, other) = itertools.islice(sizes.items(), 2)
        hint = "" if kind == "generated" else "; mixed_sizes allows it, for data that are so"
        raise InputError(
            f'{kind} clips: those in "{place}" are of {len(sizes)} sizes: "{one}" {first[0]}x{first[1]}, '
            f'"{other}" {second[0]}x{second[1]}{hint}'
        )
    small = [(size, name) for size, name in sizes.items() if min(size) < preset.size]
    if small:
        (width, height), name = small[0]
        raise InputError(
            f'{kind} clips: "{name}" in "{place}" is {width}x{height}, but {preset.name} compares clips of '
            f"{preset.size}x{preset.size}, and enlarging them would change them"
        )


def _check_count(what: str, place: str | Path, there: int, wanted: int, preset: Preset) -> None:
    if there < wanted:
        raise InputError(
            f'{what}: "{place}" gives {there}, but {preset.name} takes {wanted}; a count of {there} would be another '
            "protocol, whose numbers compare only with each other"
        )


def _partners(
    generated: FolderClips, videos: Sequence[Video], left_out: dict[str, str], preset: Preset, place: str | Path
) -> list[Pick]:
    """The real clip of each generated one, which has its name."""
    real: dict[str, Video] = {}
    for video in videos:
        twin = real.setdefault(video.paired_by, video)
        if twin is not video:
            raise InputError(
                f'real clips: "{twin.item.name}" and "{video.item.name}" in "{place}" have one name without '
                "the ending, by which they are paired with generated clips"
            )
    wanted = [pick.video for pick in generated.picks]
    alone = [video for video in wanted if video.paired_by not in real]
    if alone:
        name = alone[0].paired_by
        why = next((f"; it is {why}" for file, why in left_out.items() if without_ending(file) == name), "")
        raise InputError(
            f'{len(alone)} of {len(wanted)} generated clips have no real clip of their name in "{place}": '
            f'"{alone[0].item.name}" takes a "{name}" with any ending{why}'
        )
    numbers = tuple(range(0, preset.frames * preset.stride, preset.stride))
    return [Pick(real[video.paired_by], numbers) for video in wanted]


def _drawn(videos: Sequence[Video], preset: Preset, span: int, seed: int, place: str | Path) -> list[Pick]:
    rng = np.random.default_rng([seed, 1])
    if preset.start == "window":
        windows = np.cumsum([video.frames - span + 1 for video in videos])
        total = int(windows[-1])
        wanted = preset.real_count or len(videos)
        _check_count("windows of real clips", place, total, wanted, preset)
        chosen = rng.choice(total, wanted, replace=False)
        owners = np.searchsorted(windows, chosen, side="right")
        starts = chosen - np.where(owners > 0, windows[owners - 1], 0)
    else:
        wanted = preset.real_count or len(videos)
        _check_count("real clips", place, len(videos), wanted, preset)
        owners = rng.permutation(len(videos))[:wanted]
        room = np.array([videos[i].frames - span + 1 for i in owners])
        starts = rng.integers(0, room) if preset.start == "video" else np.zeros_like(room)
    picks = []
    for owner, start in zip(owners.tolist(), starts.tolist(), strict=True):
        video = videos[owner]
        if preset.start == "spread":
            numbers = (np.arange(preset.frames) * video.frames // preset.frames).tolist()
        else:
            numbers = (start + preset.stride * np.arange(preset.frames)).tolist()
        picks.append(Pick(video, tuple(numbers)))
    return picks
