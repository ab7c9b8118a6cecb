"""Clips with pictures beside them, for joint training (Video Diffusion Models, Ho et al. 2022, sec. 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from videofusion.data.batch import Batch, Dataset
from videofusion.data.loader import Loader


class JointLoader:
    """Batches of clips, by number, each with a batch of pictures.

    Args:
        clips: batches of clips; its report is that of both.
        pictures: batches of clips of one frame, a multiple of the clips' number.
    """

    def __init__(self, clips: Loader, pictures: Loader) -> None:
        self.clips, self.pictures = clips, pictures
        clips.report |= pictures.report
        pictures.report = clips.report

    @property
    def dataset(self) -> Dataset:
        """Of the clips."""
        return self.clips.dataset

    @property
    def report(self) -> dict[str, str]:
        """Reason by name, for what could not be used up to now."""
        return self.clips.report

    @property
    def waited(self) -> float:
        """Seconds that those who asked for batches waited, up to now."""
        return self.clips.waited + self.pictures.waited

    @property
    def busy(self) -> float:
        """CPU seconds that reading them took."""
        return self.clips.busy + self.pictures.busy

    def batch(self, number: int) -> Batch:
        """Batch `number`; see `Loader.batch`."""
        return replace(self.clips.batch(number), pictures=self.pictures.batch(number))

    def starting(self, number: int) -> Iterator[Batch]:
        """Batches `number`, `number` + 1, ... without end; see `Loader.starting`."""
        for clips, pictures in zip(self.clips.starting(number), self.pictures.starting(number), strict=True):
            yield replace(clips, pictures=pictures)
