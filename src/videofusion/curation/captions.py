"""Stage `captions`: captions of a clip by three captioners (Stable Video Diffusion, section 3.1).

One sees the middle frame, one several frames, and a language model makes one sentence of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

from videofusion.curation.hub_models import folder_of
from videofusion.curation.spans import pictures_of
from videofusion.curation.stage import Job, Row, Stage, within
from videofusion.video.footage import Frame


class Captioner(Protocol):
    """Pictures and texts in, a text out; inputs that a captioner ignores may be empty."""

    def caption(self, frames: Sequence[Frame], texts: Sequence[str]) -> str:
        """Say what is to be seen.

        Args:
            frames: of a clip, in order.
            texts: what others said of it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Captions(Stage):
    """Three captions of a clip: of its middle frame, of several of its frames, and one made of both.

    Args:
        middle: folder of an image captioner of transformers.
        video: folder of one that takes several frames.
        llm: folder of a language model.
        digests: what tells these weights from others.
        frames: how many the second one sees, evenly from first to last, unless its own number is fixed.
        tokens: most that each may say.
        device: where they run.
    """

    name: ClassVar[str] = "captions"
    columns: ClassVar[dict[str, str]] = {"caption": "string", "caption_middle": "string", "caption_video": "string"}
    modules: ClassVar[dict[str, str]] = {"transformers": "clip"}
    alone: ClassVar[bool] = True
    unmarked: ClassVar[tuple[str, ...]] = ("middle", "video", "llm", "device")

    middle: str
    video: str
    llm: str
    digests: tuple[str, str, str]
    frames: int = 6
    tokens: int = 60
    device: str = "cpu"

    @classmethod
    def of(cls, middle: str, video: str, llm: str, *, device: str = "cpu") -> Captions:
        """The stage for three folders or names on the Hub; raises `InputError` where one is neither."""
        from videofusion.models import digest

        options = ("--caption-middle", "--caption-video", "--caption-llm")
        folders = [folder_of(name, option) for name, option in zip((middle, video, llm), options, strict=True)]
        first, second, third = map(str, folders)
        one, two, three = map(digest, folders)
        return cls(middle=first, video=second, llm=third, digests=(one, two, three), device=device)

    def check(self) -> None:
        super().check()
        within("frames", self.frames, 1, 64)
        within("tokens", self.tokens, 1, 1000)

    def look(self, job: Job) -> Row:
        footage = job.span.open()
        seer, watcher, writer = self._captioners()
        pictures = list(footage.decode([len(footage) // 2]))
        middle = seer.caption(pictures, ())
        video = watcher.caption(pictures_of(footage, self.frames), ())
        return {"caption": writer.caption((), (middle, video)), "caption_middle": middle, "caption_video": video}

    def _captioners(self) -> tuple[Captioner, Captioner, Captioner]:
        return _opened(self.middle, self.video, self.llm, self.tokens, self.device)


@lru_cache(maxsize=1)
def _opened(middle: str, video: str, llm: str, tokens: int, device: str) -> tuple[Captioner, Captioner, Captioner]:
    from videofusion.curation.captioners import Pictures, Summary

    seer = Pictures.open(Path(middle), option="--caption-middle", tokens=tokens, device=device)
    watcher = seer if video == middle else Pictures.open(
        Path(video), option="--caption-video", tokens=tokens, device=device
    )  # fmt: skip
    return seer, watcher, Summary.open(Path(llm), option="--caption-llm", tokens=tokens, device=device)
