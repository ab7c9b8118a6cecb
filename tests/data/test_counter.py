from __future__ import annotations

import math

import numpy as np

from videofusion.data.counter import keys, uniforms


def test_uniforms_depend_on_every_label_and_are_uniform() -> None:
    drawn = uniforms(keys(0, 0, 0, np.arange(4000)), 8)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=16, range=(0, 1))
    assert abs(counts - drawn.size / 16).max() < 6 * math.sqrt(drawn.size / 16)
    # Neither along the numbers of one key nor between neighbouring keys is there a correlation.
    for pair in ((drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:])):
        assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 0.03
    labels = [(0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0), (-1, 0, 0, 0), (0, 0, 0, 0)]
    assert len({int(keys(*label)[0]) for label in labels}) == len(labels)
