"""Reach of spatial attention: which frames a frame looks at, and that a context is not copied where clips share it."""

import pytest
import torch

from videofusion.networks.layers import Attention, LayerInputs
from videofusion.networks.temporal import REACHES

B, T, N, C = 2, 4, 3, 8
SEEN = {
    "own": lambda frame: [frame],
    "first": lambda frame: [0],
    "first_previous": lambda frame: [0, max(frame - 1, 0)],
    "all": lambda frame: list(range(T)),
}


def test_the_table_is_tested_whole() -> None:
    assert set(SEEN) == set(REACHES)


@pytest.mark.parametrize("reach", REACHES)
@torch.no_grad()
def test_each_frame_attends_to_the_frames_that_its_name_says(reach: str) -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(C, 2), torch.randn(B * T, N, C)
    inputs = LayerInputs(torch.zeros(B * T, 1), None, None, (B, T), torch.arange(T), 1.0, REACHES[reach])
    made = inputs.look(attention, tokens).unflatten(0, (B, T))
    clips = tokens.unflatten(0, (B, T))
    for frame in range(T):
        context = clips[:, SEEN[reach](frame)].flatten(1, 2)
        torch.testing.assert_close(made[:, frame], attention(clips[:, frame], context))
    half = inputs._replace(temporal=0.5).look(attention, tokens)
    torch.testing.assert_close(half, torch.lerp(attention(tokens), made.flatten(0, 1), 0.5))


@pytest.mark.parametrize(("reach", "rows"), [("first", B), ("all", B), ("first_previous", B * T)])
def test_frames_of_a_clip_share_a_context_where_it_is_the_same(reach: str, rows: int) -> None:
    assert len(REACHES[reach](torch.randn(B, T, N, C))) == rows
