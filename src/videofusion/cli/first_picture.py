"""Options of models that make clips of a first picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.errors import InputError

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline


@dataclass(frozen=True, kw_only=True)
class FirstPicture:
    """A first picture.

    Args:
        image: for image-to-video models, the picture that the video begins with, cropped to its size around the centre
        image_noise: for those, how much noise is put on it (0.02): more lets the video leave it further
    """

    image: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    image_noise: Annotated[float | None, tyro.conf.arg(metavar="N")] = None

    def told(self) -> dict[str, Any]:
        """What a file remembers of them."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    def call_of(self, pipe: VideoPipeline, asked: tuple[int | None, int | None]) -> dict[str, Any]:
        """What a pipeline's call takes of them, at the height and width that are asked for."""
        if self.image is None:
            return {}
        from videofusion.clip import read_clip
        from videofusion.conditioning.condition import checked

        noise = {} if self.image_noise is None else {"image_noise": self.image_noise}
        size = asked[0] or int(pipe.config.height), asked[1] or int(pipe.config.width)
        told = {"image": read_clip(self.image, frames=1, size=size, what="image")[0], **noise}
        checked(pipe.conditions, told)  # refuses a picture for models that take none
        return told

    def check(self) -> None:
        """Raise InputError for noise without a picture."""
        if self.image is None and self.image_noise is not None:
            raise InputError(f"--image-noise is {self.image_noise}, but there is no --image to put it on")


NO_PICTURE = FirstPicture()
