"""Prompts with weights and long ones: what is embedded is what the parts make, and nothing is cut in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videofusion.conditioning.prompt_encoder import MOST_CHUNKS, PromptEncoder, size_ids, weighted
from videofusion.errors import InputError
from videofusion.interop.text_encoders import load_text_encoder

pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")

ROOM = 28  # tokens that `saved_text` takes beside the marks of begin and end; one a letter


@pytest.fixture
def prompts(saved_text: Path) -> PromptEncoder:
    return PromptEncoder([load_text_encoder(saved_text)])


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("a red cat", [("a red cat", 1)]),
        ("a (red:1.5) cat", [("a ", 1), ("red", 1.5), (" cat", 1)]),
        ("(red:.5)(cat:0.5)", [("redcat", 0.5)]),
        ("(a (red:2) cat:1.5)", [("a ", 1.5), ("red", 3), (" cat", 1.5)]),
        ("a (red) [cat] :)", [("a (red) [cat] :)", 1)]),
        (r"a \(red:1.5\) cat", [("a (red:1.5) cat", 1)]),
        ("a (red (cat:2)", [("a (red ", 1), ("cat", 2)]),
        ("((red:2))", [("(", 1), ("red", 2), (")", 1)]),
        ("red:1.5) cat", [("red:1.5) cat", 1)]),
        ("", []),
    ],
)
def test_weights_are_read(prompt: str, spans: list[tuple[str, float]]) -> None:
    assert weighted(prompt) == spans


@pytest.mark.parametrize("prompt", ["a video (16:9)", "(red:-1)", "((red:4):4)"])
def test_a_weight_out_of_bounds_is_told(prompts: PromptEncoder, prompt: str) -> None:
    with pytest.raises(InputError, match=r"the weight -?\d+, but it must be in \[0, 5\]; .* is written \\\("):
        prompts.check(prompt)


def test_plain_prompts_are_the_encoder_s_own(prompts: PromptEncoder) -> None:
    words = ["a red three", "", "x" * ROOM]
    found, mask = prompts.encode(words)
    expected, all_count = prompts.encoders[0].encode(words)
    assert torch.equal(found, expected)
    assert torch.equal(mask, all_count)


def test_a_weight_leads_from_the_empty_prompt_through_the_plain_one(prompts: PromptEncoder) -> None:
    none, half, one, two = (prompts.embed([f"a (red:{each}) cat"]).text[0] for each in (0, 0.5, 1, 2))
    assert torch.equal(one, prompts.embed(["a red cat"]).text[0])
    empty = prompts.embed([""]).text[0]
    red = slice(2, 5)
    torch.testing.assert_close(none[red], empty[red])
    torch.testing.assert_close(half, (none + one) / 2)
    torch.testing.assert_close(two - one, one - none)
    assert torch.equal(torch.cat([two[:2], two[5:]]), torch.cat([one[:2], one[5:]]))
    assert (two - one)[red].abs().max() > 1e-3


def test_a_long_prompt_is_its_chunks_one_after_the_other(prompts: PromptEncoder) -> None:
    first, second = "abcdefg " * 3, "hijklmnop (qrs:1.5)"
    text = prompts.embed([f"{first}{second}", "short"]).text
    assert text.shape == (2, 60, 16)
    assert torch.equal(text[0], prompts.embed([first, second]).text.flatten(0, 1))  # divided between words
    assert torch.equal(text[1], prompts.embed(["short", ""]).text.flatten(0, 1))
    word = "abcd" * 10  # longer than a chunk: divided where it must be
    assert torch.equal(prompts.embed([word]).text[0, :ROOM], prompts.embed([word[:ROOM]]).text[0, :ROOM])


def test_the_negative_prompt_is_the_null_condition_and_as_long(prompts: PromptEncoder) -> None:
    found = prompts.conditions(["a", "b"], "x" * 40)
    assert found.text is not None
    assert (found.text.shape, found.null["text"].shape) == ((2, 60, 16), (1, 60, 16))
    without = found.without("text").text
    assert without is not None
    assert torch.equal(without[1], prompts.embed(["x" * 40]).text[0])
    assert torch.equal(prompts.conditions(["a"]).null["text"], prompts.embed([""]).text)


def test_what_is_cut_is_told(saved_text: Path) -> None:
    prompts = PromptEncoder([load_text_encoder(saved_text)], long="cut")
    with pytest.warns(UserWarning, match=rf'has {ROOM + 3} tokens, of which the text encoder takes {ROOM}; .* "xyz'):
        text = prompts.embed(["a" * ROOM + "xyz"]).text
    expected = prompts.encoders[0].encode(["a" * ROOM + "xyz"])[0]
    assert torch.equal(text[:, :-1], expected[:, :-1])


def test_what_cannot_be_read_is_refused(saved_text: Path, prompts: PromptEncoder) -> None:
    prompts.check("abcd " * 7 * (MOST_CHUNKS - 1))
    with pytest.raises(InputError, match=rf"at most {MOST_CHUNKS} chunks of {ROOM} are read, this makes 9"):
        prompts.check("abcd " * 7 * (MOST_CHUNKS + 1))
    with pytest.raises(InputError, match="at least one word"):
        prompts.check(" ")
    with pytest.raises(InputError, match="encoders is empty"):
        PromptEncoder([])
    with pytest.raises(InputError, match="long is 'trim'; it must be one of chunks, cut"):
        PromptEncoder(prompts.encoders, long="trim")


def test_fingerprints_tell_ways_apart(prompts: PromptEncoder) -> None:
    last = PromptEncoder(prompts.encoders, penultimate=True)
    assert len({prompts.fingerprint(), last.fingerprint(), prompts.encoders[0].fingerprint()}) == 3
    assert prompts.fingerprint() == PromptEncoder(prompts.encoders).fingerprint()
    assert not torch.equal(prompts.embed(["a"]).text, last.embed(["a"]).text)


def test_sizes_are_told_as_xl_has_them() -> None:
    assert size_ids(64, 48, clips=2, crop=(1, 2)).tolist() == [[64, 48, 1, 2, 64, 48]] * 2
