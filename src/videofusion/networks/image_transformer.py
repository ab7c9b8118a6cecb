"""Image transformers of diffusers, called as our image networks are: a clip's frames are a batch of pictures.

A diffusers transformer is held as it is. What differs between them is how each is called: what it is told of the time
and the size, whether latents come in a sequence, and which half of its output counts. Each is a row of `CALLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.layers import Embedding

PACKED = 2  # side of the squares of places that Flux has in one token


# ModelMixin again: diffusers looks for that name in a component's own module
class ImageTransformer(FrameNetwork, ModelMixin):  # type: ignore[misc]
    """A transformer of diffusers over pictures.

    Args:
        kind: its class in diffusers, a key of `CALLS`.
        sizes: its configuration there.
        factor: pixels along a side of a latent position, the unit in which PixArt takes sizes.
        tokens: of the text that it was trained with.
        guidance: scale given to a guidance-distilled network (Flux).
        image_size: of the middle frame's embedding, which is added to every token of the text; None for none. At first
            it adds nothing.

    Raises:
        InputError: no such kind, or a configuration that is none of that kind.
    """

    @register_to_config
    def __init__(
        self,
        *,
        kind: str = "PixArtTransformer2DModel",
        sizes: dict[str, Any] | None = None,
        factor: int = 8,
        tokens: int = 120,
        guidance: float = 3.5,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        check_kind(kind)
        try:
            self.net: Any = getattr(diffusers, kind).from_config(dict(sizes or {}))
        except (TypeError, ValueError, NotImplementedError, ZeroDivisionError) as error:
            raise InputError(f"sizes are no configuration of a {kind}: {error}") from error
        self.image_embedding: Embedding | None = None
        if image_size is not None:
            self.add_image_embedding(image_size)
        self._keep_positions()

    @classmethod
    def of(cls, net: nn.Module, **options: Any) -> ImageTransformer:
        """A transformer that diffusers has loaded, as one of ours.

        Args:
            net: an instance of a class of `CALLS`.
            options: as in the constructor.
        """
        sizes = {name: value for name, value in net.config.items() if not name.startswith("_")}  # type: ignore[union-attr, operator]
        with torch.device("meta"):
            found = cls(kind=type(net).__name__, sizes=sizes, **options)
        found.net = net
        found._keep_positions()
        return found.eval()

    def _keep_positions(self) -> None:
        """Have tables of positions, which diffusers makes again, saved with the weights: a file then fills all."""
        for module in self.net.modules():
            module._non_persistent_buffers_set.clear()

    def add_image_embedding(self, image_size: int) -> None:
        """Add layers that take an embedding of the middle frame."""
        self.image_embedding = Embedding(image_size, self.text_size)
        nn.init.zeros_(self.image_embedding.linear_2.weight)
        nn.init.zeros_(self.image_embedding.linear_2.bias)
        self.register_to_config(image_size=image_size)

    @property
    def text_size(self) -> int:
        """Size of a token of text."""
        config = self.net.config
        size: int = config.get("caption_channels") or config.get("joint_attention_dim") or config.cross_attention_dim
        return size

    @property
    def downscale(self) -> int:  # type: ignore[override]
        size: int = self.net.config.patch_size
        return size * PACKED if self.config.kind == "FluxTransformer2DModel" else size

    @property
    def colours(self) -> int:
        channels: int = self.net.config.in_channels
        return channels // PACKED**2 if self.config.kind == "FluxTransformer2DModel" else channels

    @property
    def gradient_checkpointing(self) -> bool:
        return bool(self.net.gradient_checkpointing)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        (self.net.enable_gradient_checkpointing if on else self.net.disable_gradient_checkpointing)()

    def check_size(self, height: int, width: int, factor: int = 1) -> None:
        super().check_size(height, width, factor)
        most = self.net.config.get("pos_embed_max_size")  # Stable Diffusion 3's table of positions
        largest = None if most is None else most * factor * self.downscale
        if largest is not None and max(height, width) > largest:
            raise InputError(f"size is {height}x{width}; this transformer has positions for at most {largest} a side")

    def forward(
        self,
        z: Tensor,
        time: Tensor,
        *,
        temporal: float = 1.0,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        pooled_text: Tensor | None = None,
        image_embedding: Tensor | None = None,
        **told: Any,
    ) -> Tensor:
        """Predict, whatever the prediction means; frame by frame.

        Args:
            z: noisy clip [b t c h w].
            time: what the schedule's `network_time` gives, [b] or [b t].
            temporal: ignored, for want of temporal layers.
            text: token embeddings [b l d].
            text_mask: which of them count [b l]; all when None.
            pooled_text: of the whole text [b d], for Stable Diffusion 3 and Flux.
            image_embedding: of the middle frame [b d], for networks that take it.
            told: inputs of other networks, which are ignored.

        Returns:
            [b t c h w].

        Raises:
            InputError: no text or another required input; channels beside the clip's or residuals,
                which no such network takes; a size that its patches do not divide.
        """
        kind, (b, t) = self.config.kind, z.shape[:2]
        for name in ("beside", "control"):
            if told.get(name) is not None:
                raise InputError(f"{name} is given; a {kind} takes nothing beside the noisy clip")
        if text is None:
            raise InputError(f"text is not given; a {kind} has to be told one")
        if z.shape[2] != self.colours:
            raise InputError(f"z has {z.shape[2]} channels; this network takes {self.colours}")
        if z.shape[-2] % self.downscale or z.shape[-1] % self.downscale:
            raise InputError(
                f"z is {z.shape[-2]}x{z.shape[-1]}; both must be multiples of {self.downscale}, the side of a patch"
            )
        if self.image_embedding is not None:
            if image_embedding is None:
                raise InputError("image_embedding is not given; this network was made to be told it")
            text = text + self.image_embedding(image_embedding.to(self.dtype))[:, None]

        def each(value: Tensor | None) -> Tensor | None:
            """For every frame what is said of its clip."""
            if value is not None and value.is_floating_point():
                value = value.to(self.dtype)
            return None if value is None else value.repeat_interleave(t, 0)

        time = (time if time.ndim == 2 else time[:, None]).expand(b, t).flatten()
        frames = z.flatten(0, 1).to(self.dtype)
        found = CALLS[kind](self, frames, time, each(text), each(text_mask), each(pooled_text))
        return found[:, : self.colours].unflatten(0, (b, t))  # a learned variance is the other half, where there is one

    def parts(self) -> Iterator[nn.Module]:
        for name in ("transformer_blocks", "single_transformer_blocks"):
            yield from getattr(self.net, name, ())

    def spatial_state(self) -> dict[str, Any]:
        return dict(self.state_dict())


def check_kind(kind: str) -> None:
    """Raise InputError for a transformer that is not known here."""
    if kind not in CALLS:
        raise InputError(f"transformer is a {kind}; those that work are {', '.join(CALLS)}")


def _needed(pooled: Tensor | None) -> Tensor:
    if pooled is None:
        raise InputError("pooled_text is not given; this network has to be told it")
    return pooled


def _pixart(
    own: ImageTransformer, z: Tensor, time: Tensor, text: Tensor, mask: Tensor | None, pooled: Tensor | None
) -> Tensor:
    added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if own.net.use_additional_conditions:  # sizes in pixels (PixArt-alpha at 1024)
        height, width = (side * own.config.factor for side in z.shape[-2:])
        added["resolution"] = torch.tensor([[height, width]], device=z.device, dtype=z.dtype).repeat(len(z), 1)
        added["aspect_ratio"] = torch.full((len(z), 1), height / width, device=z.device, dtype=z.dtype)
    found: Tensor = own.net(
        z, encoder_hidden_states=text, timestep=time, added_cond_kwargs=added, encoder_attention_mask=mask
    ).sample
    return found


def _sd3(
    own: ImageTransformer, z: Tensor, time: Tensor, text: Tensor, mask: Tensor | None, pooled: Tensor | None
) -> Tensor:
    found: Tensor = own.net(z, encoder_hidden_states=text, pooled_projections=_needed(pooled), timestep=time).sample
    return found


def _sana(
    own: ImageTransformer, z: Tensor, time: Tensor, text: Tensor, mask: Tensor | None, pooled: Tensor | None
) -> Tensor:
    time = time * own.net.config.timestep_scale
    found: Tensor = own.net(z, encoder_hidden_states=text, timestep=time, encoder_attention_mask=mask).sample
    return found


def _flux(
    own: ImageTransformer, z: Tensor, time: Tensor, text: Tensor, mask: Tensor | None, pooled: Tensor | None
) -> Tensor:
    height, width = (side // PACKED for side in z.shape[-2:])
    places = torch.zeros(height, width, 3, device=z.device)
    places[..., 1] += torch.arange(height, device=z.device)[:, None]
    places[..., 2] += torch.arange(width, device=z.device)[None]
    guidance = None
    if own.net.config.guidance_embeds:
        guidance = torch.full((len(z),), own.config.guidance, device=z.device)
    found: Tensor = own.net(
        F.pixel_unshuffle(z, PACKED).flatten(2).transpose(1, 2),  # (b t) (h/2 w/2) 4c
        encoder_hidden_states=text,
        pooled_projections=_needed(pooled),
        timestep=time / 1000,
        img_ids=places.flatten(0, 1),
        txt_ids=torch.zeros(text.shape[1], 3, device=z.device),
        guidance=guidance,
    ).sample
    return F.pixel_shuffle(found.transpose(1, 2).unflatten(2, (height, width)), PACKED)


CALLS: Mapping[str, Callable[..., Tensor]] = {
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "SanaTransformer2DModel": _sana,
    "FluxTransformer2DModel": _flux,
}
