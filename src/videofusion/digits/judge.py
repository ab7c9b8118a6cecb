"""The judge of moving-digits clips: digits, colours, courses, and features of them.

Where, of what colour and on which course a digit is, the tracker says; which digit it is, a small
network says of the ink that the tracker cut out. Both are tested on rendered clips of handwriting
that neither they nor a model were trained on (`python -m tools.digits_report` prints how often they are right).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from videofusion.digits.networks import CROP, ClipNetwork, DigitNetwork
from videofusion.digits.tracker import SIZE, Tracks, canonical, crops, track
from videofusion.errors import InputError

WEIGHTS = Path(__file__).with_name("judge.safetensors")
JUMP = 2.5  # pixels of 32 between two frames; the fast digits go 1
_CHUNK = 64  # clips looked at together: what bounds the memory


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the judge says about b clips of t frames with k digits each.

    Args:
        tracks: colours, places and courses.
        digit: int64 [b k], 0 to 9, of all frames together.
        frame_digit: int64 [b t k], of each frame alone.
        shape: [b k f], features of the digit's form, mean over the frames.
        outline: [b t k s s], the ink around each digit's centre.
    """

    tracks: Tracks
    digit: Int[Tensor, "b k"]
    frame_digit: Int[Tensor, "b t k"]
    shape: Float[Tensor, "b k f"]
    outline: Float[Tensor, "b t k s s"]

    @property
    def same_ends(self) -> Tensor:
        """Whether the first and the last frame show the same digit: bool [b k]."""
        there = (self.tracks.mass[:, 0] > 0) & (self.tracks.mass[:, -1] > 0)
        return there & (self.frame_digit[:, 0] == self.frame_digit[:, -1])

    @property
    def place_kept(self) -> Tensor:
        """Whether the digit is in every frame, near where it was in the frame before: bool [b k]."""
        near = self.tracks.place.diff(dim=1).norm(dim=-1) < JUMP
        return near.all(1) & (self.tracks.mass > 0).all(1)


class Judge:
    """Tracker and networks, ready to look at clips.

    Args:
        digits: the network that reads a digit's ink.
        clips: the network whose features are the validation measure's.
        grounds: what is behind the digits that it looks at, "plain" or "photos".
    """

    def __init__(self, digits: DigitNetwork, clips: ClipNetwork, grounds: str = "plain") -> None:
        self.digits, self.clips, self.grounds = digits.eval(), clips.eval(), grounds

    @staticmethod
    @lru_cache(maxsize=4)
    def load(path: Path = WEIGHTS, grounds: str = "plain") -> Judge:
        """The judge that ships with the package, or another that `train_judge` wrote.

        Raises:
            InputError: the file is absent or holds other weights.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"the judge's weights {path} cannot be read: {error}") from error
        judge = Judge(DigitNetwork(), ClipNetwork(), grounds)
        for name, network in judge.networks.items():
            mine = {key.removeprefix(f"{name}."): w.float() for key, w in stored.items() if key.startswith(f"{name}.")}
            try:
                network.load_state_dict(mine)
            except RuntimeError as error:
                raise InputError(f"{path} holds other weights than the judge's: {error}") from error
        return judge

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the names that their weights are stored under."""
        return {"digits": self.digits, "clips": self.clips}

    @torch.no_grad()
    def look(self, clips: Float[Tensor, "b t 3 h w"], count: int = 1) -> Findings:
        """Say what is in clips.

        Args:
            clips: `b t c h w`, RGB in [-1, 1], square, at least 32 pixels wide.
            count: digits per clip, 1 or 2.
        """
        return join(self._look(part, count) for part in clips.split(_CHUNK))

    def _look(self, clips: Tensor, count: int) -> Findings:
        tracks = track(clips, count, self.grounds)
        outline = crops(tracks, CROP)
        logits, features = self.digits(rearrange(outline, "b t k h w -> (b t k) h w"))
        shape = {"t": outline.shape[1], "k": count}
        scores = rearrange(logits.log_softmax(-1), "(b t k) n -> b t k n", **shape)
        features = rearrange(features, "(b t k) f -> b t k f", **shape)
        return Findings(
            tracks=tracks,
            digit=scores.mean(1).argmax(-1),
            frame_digit=scores.argmax(-1),
            shape=reduce(features, "b t k f -> b k f", "mean"),
            outline=outline,
        )

    @torch.no_grad()
    def features(self, clips: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b t f"], Float[Tensor, "b f"]]:
        """Features of the frames, each for itself, and of what happens over time."""
        parts = [self.clips(canonical(part)) for part in clips.split(_CHUNK)]
        return torch.cat([frames for frames, _ in parts]), torch.cat([over_time for _, over_time in parts])


def join(parts: Iterable[Findings]) -> Findings:
    """The findings of several batches as those of one."""
    parts = list(parts)

    def together(read: Callable[[Findings], Tensor]) -> Tensor:
        return torch.cat([read(part) for part in parts])

    return Findings(
        tracks=Tracks(
            colour=together(lambda part: part.tracks.colour),
            place=together(lambda part: part.tracks.place),
            mass=together(lambda part: part.tracks.mass),
            velocity=together(lambda part: part.tracks.velocity),
            ink=together(lambda part: part.tracks.ink),
        ),
        digit=together(lambda part: part.digit),
        frame_digit=together(lambda part: part.frame_digit),
        shape=together(lambda part: part.shape),
        outline=together(lambda part: part.outline),
    )


def course(findings: Findings) -> Float[Tensor, "b k c"]:
    """The course as features: place in each frame, 0 in the middle of the canvas and 1 at its edge."""
    place = findings.tracks.place / ((SIZE - 1) / 2) - 1
    return rearrange(place, "b t k xy -> b k (t xy)")
