"""A frame in place of the text, for clips without captions (MagicVideo's unsupervised training)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Request, Step
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.prompt import Encoder, Prompt, dropped, text_conditions
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys, base_frame


class FrameAsText(Prompt):
    """The middle frame's embedding as the only token of text; its null value is the empty text.

    Args:
        encoder: of the text, whose empty text and length of a text it has.
        image_encoder: of the frame, trained with the system; its embeddings have the size of the text's.
    """

    def __init__(self, encoder: Encoder, image_encoder: FrameEncoder) -> None:
        super().__init__(encoder)
        self.image_encoder = image_encoder

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {**super().modules, "image_encoder": self.image_encoder}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        embedding = self.image_encoder(batch.clip[:, base_frame(batch.clip.shape[1])])
        return frame_as_text(text_conditions(self.encoder, [""] * len(embedding)), embedding, dropped(keys, step))

    def _check(self, prompt: str) -> str | None:
        self.encoder.check(prompt)
        return (
            "this model was trained on embeddings of frames (text_from=frames) and hears no prompt; "
            "train it further on captions with start.model=ITS FOLDER"
        )

    def sample(self, value: Sequence[str], request: Request) -> Conditions:
        null = text_conditions(self.encoder, [""] * request.shape[0], negative=request.negative)
        if request.known is None:
            return null
        middle = len(request.known.at) // 2  # of those that are given
        return frame_as_text(null, self.image_encoder(request.known.frames[:, middle]))


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
