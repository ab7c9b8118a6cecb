"""Keys that clips share: groups of clips with one noise (Luo et al. 2023, sec. 4.7)."""

from __future__ import annotations

from collections.abc import Sequence

from videofusion.diffusion.noise import Keys


def grouped_keys(
    keys: Keys, identities: Sequence[str], actions: Sequence[str], mates: Sequence[tuple[int, str, str]] = ()
) -> Keys:
    """Keys by which clips of one identity share base noise and clips of one action residual noise (sec. 4.7).

    Sharing is within the batch, as in the paper: a group has the smallest key of its clips.

    Args:
        keys: of the clips, b of them.
        identities: of the clips, "" where not known; none of them when nothing is known.
        actions: the same.
        mates: see `Batch`.
    """
    return Keys(
        _grouped(keys.content, identities, [(key, identity) for key, identity, _ in mates]),
        _grouped(keys.motion, actions, [(key, action) for key, _, action in mates]),
    )


def _grouped(keys: Sequence[int], names: Sequence[str], mates: Sequence[tuple[int, str]]) -> tuple[int, ...]:
    own = list(zip(keys, names or [""] * len(keys), strict=True))
    pairs = [*own, *mates]
    return tuple(min(k for k, other in pairs if other == name) if name else key for key, name in own)
