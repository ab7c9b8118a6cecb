"""The word encoder: which words it knows, and what an embedding depends on."""

from __future__ import annotations

import pytest
import torch

from videofusion.conditioning.text import WordEncoder, split_words
from videofusion.errors import InputError

WORDS = ["a", "red", "three", "moving", "left"]


@pytest.fixture
def encoder() -> WordEncoder:
    torch.manual_seed(0)
    return WordEncoder(words=WORDS, size=16, layers=1, heads=2, max_words=6).eval()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red 3, moving  LEFT!", ["a", "red", "3", "moving", "left"]),
        ("the dog's_ball", ["the", "dog's", "ball"]),
        ("Ärger 日本", ["ärger", "日本"]),
        ("?! ...", []),
    ],
)
def test_words_of_a_text(text, expected):
    assert split_words(text) == expected


def test_unknown_words_are_named_once_and_in_order(encoder):
    assert encoder.unknown("a blue three, a BLUE cow left") == ["blue", "cow"]
    assert encoder.unknown("Red, red") == []


@pytest.mark.parametrize("prompt", ["", "  ", "?!"])
def test_a_prompt_needs_a_word(encoder, prompt):
    with pytest.raises(InputError, match="it must have at least one word"):
        encoder.check(prompt)


def test_a_prompt_has_an_end(encoder):
    encoder.check("a a a a a a")
    with pytest.raises(InputError, match="prompt has 7 words; this model takes at most 6"):
        encoder.check("a a a a a a a")


@torch.no_grad()
def test_an_embedding_does_not_depend_on_longer_prompts_beside_it(encoder):
    alone, mask = encoder.encode(["red three"])
    beside, wide = encoder.encode(["a red three moving left", "red three"])
    assert mask.tolist() == [[True] * 3 + [False] * 13]
    assert wide.tolist() == [[True] * 6 + [False] * 10, [True] * 3 + [False] * 13]
    torch.testing.assert_close(beside[1, :3], alone[0, :3], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_order_counts_and_the_first_token_has_heard_of_all(encoder):
    one, other = encoder.encode(["red three left", "left three red"])[0]
    assert (one[0] - other[0]).abs().max() > 1e-4


@torch.no_grad()
def test_the_empty_prompt_is_the_null_condition(encoder):
    text, mask = encoder.encode([""])
    assert text.shape == (1, 16, 16)
    assert mask.tolist() == [[True] + [False] * 15]


@torch.no_grad()
def test_captions_of_training_are_cut_rather_than_refused(encoder):
    _, mask = encoder.encode(["a red " * 10])
    assert mask.sum() == 7


@torch.no_grad()
def test_compiled_networks_meet_few_lengths(encoder):
    lengths = {encoder.encode([" ".join(["a"] * words)])[0].shape[1] for words in range(7)}
    assert lengths == {16}


def test_saved_words_are_kept(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    again = WordEncoder.from_pretrained(tmp_path).eval()
    assert again.words == WORDS
    with torch.no_grad():
        assert torch.equal(again.encode(["red left"])[0], encoder.encode(["red left"])[0])
