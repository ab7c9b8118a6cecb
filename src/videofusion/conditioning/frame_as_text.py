"""A frame in place of the text, for clips without captions (MagicVideo's unsupervised training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Request, Step
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame
from videofusion.conditioning.prompt import Encoder, Prompt, dropped, text_conditions
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.networks.autoencoder import Pixels, Space
from videofusion.networks.layers import normalised


class FrameAsText(Prompt):
    """The middle frame's embedding as the only token of text; its null value is the empty text.

    Args:
        encoder: of the text, whose empty text and length of a text it has.
        image_encoder: of the frame, trained with the system, or CLIP's, which is not; its embeddings have the size of
            the text's, and are brought to mean 0 and variance 1 over their entries.
        space: where clips live; pixels when None.
    """

    def __init__(
        self,
        encoder: Encoder,
        image_encoder: FrameEncoder | FrozenFrames,
        space: Space | None = None,
    ) -> None:
        super().__init__(encoder)
        self.image_encoder, self.space = image_encoder, space or Pixels()

    @property
    def modules(self) -> dict[str, nn.Module]:
        own = {"image_encoder": self.image_encoder} if isinstance(self.image_encoder, FrameEncoder) else {}
        return {**super().modules, **own}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        own = {"image_encoder": self.image_encoder.model} if isinstance(self.image_encoder, FrozenFrames) else {}
        return {**super().frozen, **own}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        embedding = self._embed(batch.clip[:, base_frame(batch.clip.shape[1])])
        return frame_as_text(text_conditions(self.encoder, [""] * len(embedding)), embedding, dropped(keys, step))

    def _check(self, prompt: str) -> str | None:
        self.encoder.check(prompt)
        return (
            "this model was trained on embeddings of frames and ignores the prompt; "
            "train it further on captions with start.model=ITS FOLDER"
        )

    def sample(self, value: Sequence[str], request: Request) -> Conditions:
        null = text_conditions(self.encoder, [""] * request.shape[0], negative=request.negative)
        known = request.known
        whole = [] if known is None else [frame for frame in map(known.one, known.at) if frame is not None]
        if not whole:  # one that is given in part shows what is to be made anew
            return null
        return frame_as_text(null, self._embed(whole[len(whole) // 2][:, 0]))

    def _embed(self, frame: Tensor) -> Tensor:
        embedding = embed_frame(self.image_encoder, self.space, frame)
        return embedding if isinstance(self.image_encoder, FrameEncoder) else normalised(embedding)


def frame_as_text(null: Conditions, embedding: Tensor, drop: Sequence[bool] | None = None) -> Conditions:
    """Conditions with a frame's embedding as their only token of text.

    Args:
        null: conditions of the empty prompt, with texts [b l d].
        embedding: of a frame of each clip [b d].
        drop: for each clip, whether it keeps the empty prompt.
    """
    assert null.text is not None  # as `text_conditions` makes them
    assert null.text_mask is not None
    text, mask = torch.zeros_like(null.text), torch.zeros_like(null.text_mask)
    text[:, 0], mask[:, 0] = embedding, True
    if drop is not None:
        gone = torch.tensor(drop, device=text.device)[:, None]
        text, mask = torch.where(gone[..., None], null.text, text), torch.where(gone, null.text_mask, mask)
    return replace(null, text=text, text_mask=mask)
