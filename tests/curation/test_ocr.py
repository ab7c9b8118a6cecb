"""Writing of a known size in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from videofusion.curation.ocr import Text, _covered
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job

pytest.importorskip("cv2")


def test_what_boxes_cover_counts_once():
    box = [[0, 0], [9, 0], [9, 4], [0, 4]]
    assert _covered([box, box], (20, 10)) == pytest.approx(10 * 5 / 200)
    assert _covered([], (20, 10)) == 0


def test_a_title_is_found_and_a_scene_without_is_clean(tmp_path, make_scene, write_video):
    pytest.importorskip("rapidocr_onnxruntime")
    plain = make_scene(0, 3, height=120, width=200)
    image = Image.fromarray(plain[0])
    font = ImageFont.load_default(40)
    draw = ImageDraw.Draw(image)
    draw.text((20, 35), "HELLO", fill="white", font=font, stroke_width=2, stroke_fill="black")
    box = draw.textbbox((20, 35), "HELLO", font=font)
    titled = [plain[0], np.array(image), plain[2]]  # the middle frame alone has it
    looks = {}
    for name, frames in (("plain", plain), ("titled", titled)):
        path = write_video(tmp_path / f"{name}.mp4", frames)
        looks[name] = Text().look(Job(Span(source=name, path=str(path), stamp=""), {}))
    assert looks["plain"] == {"text_area": 0, "words": ""}
    assert "HELLO" in looks["titled"]["words"]
    share = (box[2] - box[0]) * (box[3] - box[1]) / (120 * 200)
    assert share * 0.8 < looks["titled"]["text_area"] < share * 2.2  # boxes have a margin


def test_a_picture_too_small_for_letters(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "a.mp4", [frame[:4, :4] for frame in make_scene(0, 2)])
    assert Text().look(Job(Span(source="a", path=str(path), stamp=""), {}))["text_area"] == 0
