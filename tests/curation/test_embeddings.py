"""CLIP's stages with small random weights, and the linear head with weights whose score is known."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from videofusion.curation.embeddings import Aesthetics, Embeddings, Similarity
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job
from videofusion.errors import InputError

SPAN = Span(source="a", path="a", stamp="")


def test_the_head_is_a_chain_of_layers_in_the_order_of_their_numbers(tmp_path):
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(3, 4)), draw.normal(size=(1, 3))
    biases = draw.normal(size=3), draw.normal(size=1)
    layers = {
        "layers.10.weight": second,
        "layers.10.bias": biases[1],
        "layers.2.weight": first,
        "layers.2.bias": biases[0],
    }
    save_file(layers, tmp_path / "head.safetensors")
    rows = draw.normal(size=(3, 4))
    expected = np.mean([second @ (first @ row + biases[0]) + biases[1] for row in rows])
    stage = Aesthetics.of(tmp_path / "head.safetensors")
    assert stage.look(Job(SPAN, {"embedding": rows.ravel().tolist()}))["aesthetics"] == pytest.approx(expected)
    with pytest.raises(InputError, match=r"takes embeddings of 4 numbers, .* have 2"):
        stage.look(Job(SPAN, {"embedding": [0.0] * 6}))


@pytest.mark.parametrize(
    "shapes", [{}, {"a.weight": (1, 4)}, {"a.weight": (2, 4), "a.bias": (2,)},
               {"0.weight": (3, 4), "0.bias": (3,), "1.weight": (1, 2), "1.bias": (1,)}],
)  # fmt: skip
def test_what_is_no_head_is_refused(tmp_path, shapes):
    save_file({name: np.zeros(shape) for name, shape in shapes.items()}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match="--aesthetic-head"):
        Aesthetics.of(tmp_path / "head.safetensors")
    (tmp_path / "head.safetensors").write_text("no weights")
    with pytest.raises(InputError, match="--aesthetic-head"):
        Aesthetics.of(tmp_path / "head.safetensors")


def test_clip_sees_first_middle_and_last(tmp_path, make_scene, write_video, clip_folder):
    folder = clip_folder
    path = write_video(tmp_path / "a.mp4", [*make_scene(0, 3), *make_scene(1, 3), *make_scene(2, 3)])
    stage = Embeddings.of(folder)

    def look(first: int, count: int) -> np.ndarray:
        span = Span(source="a", path=str(path), stamp="", first=first, count=count)
        return np.array(stage.look(Job(span, {}))["embedding"]).reshape(3, 12)

    whole = look(0, 9)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    for place, frame in enumerate((0, 4, 8)):
        np.testing.assert_allclose(whole[place], look(frame, 1)[0], atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3

    similarity = Similarity.of(folder)
    embedding = whole.ravel().tolist()
    found = similarity.look(Job(SPAN, {"embedding": embedding, "said": "ab"}))["similarity"]
    from videofusion.curation.embeddings import _clip

    text = _clip(str(folder), "cpu").text(["ab"])[0].numpy()
    assert found == pytest.approx(float((whole @ text).mean()), abs=1e-6)
    assert similarity.look(Job(SPAN, {"embedding": embedding, "said": ""})) == {"similarity": None}
    # other weights, other rows; another place of the same weights, the same ones
    assert Embeddings.of(folder).fingerprint == Embeddings(weights="x", digest=stage.digest, device="cuda").fingerprint
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    from videofusion.curation.embeddings import _digest

    _digest.cache_clear()
    assert Embeddings.of(folder).fingerprint != stage.fingerprint
