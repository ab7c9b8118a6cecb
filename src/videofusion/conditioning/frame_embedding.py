"""An embedding of the middle frame as a condition; at sampling a prior predicts it from the text.

VideoFusion as published (Luo et al. 2023, sec. 4), after DALL-E 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame
from videofusion.conditioning.prior_diffusion import augmented, is_trained, prior_conditions, prior_errors, sample_prior
from videofusion.conditioning.prompt import captions_of, dropped
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.errors import InputError
from videofusion.networks.autoencoder import Space
from videofusion.networks.layers import normalised
from videofusion.networks.prior import Prior, TransformerPrior


class FrameEmbedding(Condition):
    """The middle frame's embedding with a little noise, trained together with its prior.

    Args:
        image_encoder: of middle frames, trained with the networks, or CLIP's, which is frozen.
        prior: over its embeddings, trained beside them.
        text: the prior's own text encoder; None if it uses the networks'.
        space: where the frames live.

    Raises:
        InputError: parts that do not fit each other.
    """

    name, kind = "image_embedding", "embedding"

    def __init__(
        self,
        image_encoder: FrameEncoder | FrozenFrames,
        prior: Prior | TransformerPrior,
        text: FrozenText | None,
        space: Space,
    ) -> None:
        if prior.size != image_encoder.size:
            raise InputError(
                f"prior makes embeddings of size {prior.size}; they must have those of image_encoder, "
                f"{image_encoder.size}"
            )
        if (prior.text_size is None) != (text is not None):
            what = "needs a text encoder of its own" if text is None else "reads the generators' text encoder"
            raise InputError(f"prior_text is {'not given' if text is None else 'given'}; this prior {what}")
        self.image_encoder, self.prior, self.text, self.space = image_encoder, prior, text, space

    @property
    def modules(self) -> dict[str, nn.Module]:
        return self._parts(frozen=False)

    @property
    def frozen(self) -> dict[str, nn.Module]:
        return self._parts(frozen=True)

    def _parts(self, *, frozen: bool) -> dict[str, nn.Module]:
        """Those that are trained, or those that never are.

        A prior of others' weights is no part of what is trained where the rates leave it as it came: it is large.
        """
        clip = isinstance(self.image_encoder, FrozenFrames)
        kept = self.text is not None and not is_trained(self.prior)
        parts = {
            "image_encoder": (clip, self._network),
            "prior": (kept, self.prior),
            "prior_text_encoder": (True, None if self.text is None else self.text.model),
        }
        return {name: part for name, (is_frozen, part) in parts.items() if part is not None and is_frozen == frozen}

    @property
    def _network(self) -> nn.Module:
        encoder = self.image_encoder
        return encoder.model if isinstance(encoder, FrozenFrames) else encoder

    @property
    def components(self) -> dict[str, Any]:
        return {
            "image_encoder": self._network,
            "prior": self.prior,
            "prior_text_encoder": None if self.text is None else self.text.model,
            "prior_tokenizer": None if self.text is None else self.text.tokenizer,
        }

    def network(self, colours: int) -> dict[str, Any]:
        return {"image_size": self.image_encoder.size}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        return self._told(self._embedded(batch), keys, step)

    def learn(
        self, batch: Batch, keys: Keys, step: Step, t: Tensor, told: Conditions
    ) -> tuple[Conditions, Tensor | None]:
        """The condition of a batch, and the errors of its prior.

        Args:
            batch: the clips, where networks have them.
            keys: of all randomness.
            step: what it looks at.
            t: times of the clips [b].
            told: the text.

        Returns:
            as `train`, and the prior's errors [b]; None for a prior that is not trained.
        """
        embedding = self._embedded(batch)
        errors = None
        if is_trained(self.prior):
            texts = prior_conditions(told, self.text, captions_of(batch, keys, step))
            errors = prior_errors(self.prior, embedding, t, texts, keys, step.number)
        return self._told(embedding, keys, step), errors

    def _embedded(self, batch: Batch) -> Tensor:
        return embed_frame(self.image_encoder, self.space, batch.clip[:, base_frame(batch.clip.shape[1])])

    def _told(self, embedding: Tensor, keys: Keys, step: Step) -> Conditions:
        return Conditions(image_embedding=augmented(normalised(embedding), keys, step.number))

    @torch.no_grad()
    def sample(self, value: Any, request: Request) -> Conditions:
        middle = None if request.known is None else request.known.one(base_frame(request.shape[1]))
        if middle is not None:
            embedding = embed_frame(self.image_encoder, self.space, middle[:, 0])
        else:
            texts = prior_conditions(request.told, self.text, request.prompts)
            embedding = sample_prior(self.prior, texts, request.keys, request.guidance)
        return Conditions(image_embedding=normalised(embedding))


class EmbeddingAsText(FrameEmbedding):
    """The embedding in place of the text, dropped in training as captions are, and guided; its null value is zero.

    A network that is built for it takes no text; an image network of diffusers, which does, keeps its text.
    """

    guided = True

    def network(self, colours: int) -> dict[str, Any]:
        return {**super().network(colours), "text_size": None, "pool_text": False}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        told = super().train(batch, keys, step)
        assert told.image_embedding is not None  # as the class above tells it
        kept = ~torch.tensor(dropped(keys, step), device=told.image_embedding.device)
        return _with_null(told.image_embedding * kept[:, None])

    def sample(self, value: Any, request: Request) -> Conditions:
        told = super().sample(value, request)
        assert told.image_embedding is not None
        return _with_null(told.image_embedding)


def _with_null(embedding: Tensor) -> Conditions:
    return Conditions(image_embedding=embedding, null={"image_embedding": torch.zeros_like(embedding[:1])})
