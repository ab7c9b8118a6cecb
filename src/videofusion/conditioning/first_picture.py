"""The first picture of a clip, from which image-to-video systems go on: in place of the text, and beside every frame.

Both are told by the option `image`. What they say is Stable Video Diffusion's (Blattmann et al. 2023, sec. 4.2): CLIP's
embedding of the picture, and its latents with a little noise on it. In training it is the clip's first frame; at
sampling a first frame that is given (`known`) comes before `image`, so that longer videos go on from what was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.clip.check import check_clip
from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame
from videofusion.conditioning.numbers import PictureNoise
from videofusion.conditioning.prompt import dropped
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.keys import Stream, normal
from videofusion.networks.autoencoder import Latents, Pixels

Where = Latents | Pixels


class NoPrompt(Condition):
    """What a model is told of a prompt that makes clips of pictures alone: nothing, and the user is told so."""

    name, kind, option = "prompt", "none", "prompt"

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        return Conditions()

    def check(self, value: Sequence[str]) -> Sequence[str]:
        given = [prompt for prompt in value if prompt.strip()]
        return [f"this model makes clips of a first picture and ignores the prompt {given[0]!r:.60}"] if given else ()

    def sample(self, value: Any, request: Request) -> Conditions:
        return Conditions()


class FirstPicture(Condition):
    """What is told of the first picture.

    Args:
        space: where clips are made.
    """

    option = "image"
    guided = True

    def __init__(self, space: Where) -> None:
        self.space = space

    def check(self, value: Any) -> Sequence[str]:
        if not isinstance(value, Tensor) or value.ndim not in (3, 4):
            raise InputError("image must be a picture, 3 h w or b 3 h w in [-1, 1]")
        check_clip(value[None] if value.ndim == 3 else value, name="image", axes="t c h w")
        return ()

    def picture(self, value: Tensor | None, request: Request) -> Tensor:
        """The picture of each clip [b 3 h w], in pixels.

        Raises:
            InputError: there is none, or it is of another size than the clips, or of another number.
        """
        clips, factor = request.shape[0], self.space.factor
        shown = None if request.known is None else request.known.one(0)
        if shown is not None:
            return self.space.decode(shown.expand(clips, *shown.shape[-4:]).to(request.device))[:, 0]
        if value is None:
            raise InputError("image is not given; this model makes clips of a first picture")
        pictures = (value[None] if value.ndim == 3 else value).to(request.device).float()
        wanted = (3, request.shape[-2] * factor, request.shape[-1] * factor)
        if tuple(pictures.shape[1:]) != wanted or len(pictures) not in (1, clips):
            raise InputError(
                f"image is {len(pictures)} of {pictures.shape[-1]}x{pictures.shape[-2]} in {pictures.shape[1]} "
                f"channels; it must be of the clips' size, {wanted[2]}x{wanted[1]} in 3, and one or {clips}"
            )
        return pictures.expand(clips, -1, -1, -1)


class PictureAsText(FirstPicture):
    """The picture's embedding as the only token that networks attend to; its null value is zeros.

    Args:
        encoder: of the picture: CLIP's, or a small one that is trained with the system.
        space: where clips are made.
    """

    name, kind = "text", "tokens"

    def __init__(self, encoder: FrameEncoder | FrozenFrames, space: Where) -> None:
        super().__init__(space)
        self.encoder = encoder

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"image_encoder": self.encoder} if isinstance(self.encoder, FrameEncoder) else {}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        return {"image_encoder": self.encoder.model} if isinstance(self.encoder, FrozenFrames) else {}

    def network(self, colours: int) -> dict[str, Any]:
        return {"text_size": self.encoder.size}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        embedding = embed_frame(self.encoder, self.space, batch.clip[:, 0])
        return _token(torch.where(_gone(keys, step, embedding), 0.0, embedding))

    def sample(self, value: Tensor | None, request: Request) -> Conditions:
        picture = self.picture(value, request)
        if isinstance(self.encoder, FrameEncoder):
            return _token(self.encoder(self.space.encode(picture[:, None])[:, 0]))
        return _token(self.encoder(picture))


class PictureBesideFrames(FirstPicture):
    """The picture, as latents without their scale, beside every frame; its null value is zeros.

    Args:
        space: where clips are made.
        noise: that is put on the picture before; what it says is told the network too, and stands last of its numbers.
    """

    name, kind = "beside", "beside"

    def __init__(self, space: Where, noise: PictureNoise) -> None:
        super().__init__(space)
        self.noise = noise

    def network(self, colours: int) -> dict[str, Any]:
        return {"in_channels": colours}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        first = batch.clip[:, :1]
        picture = first if self.space.vae is None else self.space.decode(first)
        level = self.noise.drawn(keys, step.number).to(picture)
        told = self._noised(picture[:, 0], level, keys, step.number)
        return _beside(torch.where(_gone(keys, step, told), 0.0, told), len(step.frames))

    def sample(self, value: Tensor | None, request: Request) -> Conditions:
        assert request.told.numbers is not None  # by the conditions before
        level = request.told.numbers[:, -1]
        return _beside(self._noised(self.picture(value, request), level, request.keys, 0), request.shape[1])

    @torch.no_grad()
    def _noised(self, picture: Tensor, level: Tensor, keys: Keys, step: int) -> Tensor:
        """Latents [b c h w] of pictures [b 3 h w], with noise of some deviations [b] on the pixels."""
        eps = normal(keys.content, Stream.PICTURE, step, [0], picture.shape[1:], picture.device)[:, 0]
        noisy = picture + level[:, None, None, None] * eps
        return self.space.unscaled(self.space.encode(noisy[:, None]))[:, 0]


def _gone(keys: Keys, step: Step, like: Tensor) -> Tensor:
    """Which clips of a training step go without their picture, broadcast to a tensor [b ...]."""
    return torch.tensor(dropped(keys, step), device=like.device).reshape(-1, *[1] * (like.ndim - 1))


def _token(embedding: Tensor) -> Conditions:
    return Conditions(text=embedding[:, None], null={"text": torch.zeros_like(embedding[:1, None])})


def _beside(latents: Tensor, frames: int) -> Conditions:
    told = latents[:, None].expand(-1, frames, -1, -1, -1)
    return Conditions(beside=told, null={"beside": torch.zeros_like(told[:1])})
