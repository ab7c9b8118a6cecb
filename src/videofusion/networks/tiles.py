"""Large frames in tiles of one size, whose seams are blended: memory is that of a tile, whatever the frame has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

Results = tuple[Tensor | None, ...]
LEAST = 8  # places along a side of a tile
OVERLAP = 4  # of neighbours, one part in so many of a tile
_MARGIN = 4  # one part in so many of the overlap counts nothing at each end, which feels the zeros beyond the edge


def in_tiles(work: Callable[[Tensor], Results], frames: Tensor, side: int, *, unit: int = 1, made: int = 1) -> Results:
    """What work makes of frames, tile by tile; of frames that are no larger than a tile, all at once.

    Where tiles overlap, each counts the more the farther a place lies within it, so that no seam shows. Work that sees
    no farther than a sixteenth of a tile makes the same of tiles as of the whole.

    Args:
        work: from frames [n c h w] to results [n c' h' w'], or None.
        frames: [n c h w].
        side: of a tile in places.
        unit: entries of frames along a side of a place.
        made: entries of results along it.

    Returns:
        results, float32.
    """
    height, width = (length // unit for length in frames.shape[-2:])
    if max(height, width) <= side:
        return tuple(None if each is None else each.float() for each in work(frames))
    whole: Results = ()
    for (top, rows), (left, columns) in product(cut(height, side, made), cut(width, side, made)):
        tile = frames[..., top * unit : (top + side) * unit, left * unit : (left + side) * unit]
        parts = work(tile)
        if not whole:
            size = (height * made, width * made)
            whole = tuple(
                None if each is None else each.new_zeros(*each.shape[:2], *size, dtype=torch.float32) for each in parts
            )
        for result, part in zip(whole, parts, strict=True):
            if result is not None and part is not None:
                y, x = (slice(at * made, at * made + len(share)) for at, share in ((top, rows), (left, columns)))
                result[..., y, x] += part.float() * rows.to(result)[:, None] * columns.to(result)
    return whole


def cut(length: int, side: int, made: int = 1) -> list[tuple[int, Tensor]]:
    """Where tiles begin along an axis, and how much each of their entries counts; those of a place make 1 together.

    Args:
        length: of the axis in places.
        side: of a tile in places.
        made: entries of a place.

    Returns:
        places, and weights [min(length, side) * made].
    """
    if length <= side:
        return [(0, torch.ones(length * made))]
    overlap = side // OVERLAP
    gaps = -(-(length - side) // (side - overlap))
    starts = [number * (length - side) // gaps for number in range(gaps + 1)]
    margin, within = overlap * made / _MARGIN, torch.arange(side * made) + 0.5
    total, weights = torch.zeros(length * made), []
    for start in starts:
        depth = within if start else torch.full_like(within, torch.inf)
        if start + side < length:
            depth = depth.minimum(within.flip(0))
        weight = ((depth - margin) / (overlap * made - 2 * margin)).clamp(0, 1)
        total[start * made : (start + side) * made] += weight
        weights.append(weight)
    return [
        (start, weight / total[start * made : (start + side) * made])
        for start, weight in zip(starts, weights, strict=True)
    ]
