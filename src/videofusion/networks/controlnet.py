"""ControlNet (Zhang et al. 2023): a copy of a U-Net's way down that sees a picture and adds to its features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError

_FRAMES = 8  # whose pictures are looked at together: in their full size, memory is more than the whole U-Net's


class ControlNet(nn.Module):
    """diffusers' `ControlNetModel`, frame by frame.

    What it makes of the pictures alone does not change while a clip is sampled, so that it is a call of its own.

    Args:
        model: of diffusers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        config: Any = model.config
        self.channels: int = config["in_channels"]  # of the noisy clip
        self.colours: int = config["conditioning_channels"]
        self.factor = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)

    def check_fits(self, unet: nn.Module) -> None:
        """Raise InputError unless its residuals are of the sizes of a U-Net's features.

        Args:
            unet: a `UNet`.
        """
        theirs, own = dict(self.model.config), dict(unet.config)  # type: ignore[arg-type]
        added = theirs.get("projection_class_embeddings_input_dim") if theirs.get("addition_embed_type") else None
        pairs = {
            "in_channels": (theirs["in_channels"], own["out_channels"]),
            "block_out_channels": ([*theirs["block_out_channels"]], [*own["channels"]]),
            "layers_per_block": (theirs["layers_per_block"], own["blocks"]),
            "cross_attention_dim": (theirs["cross_attention_dim"], own["text_size"]),
            "projection_class_embeddings_input_dim": (added, own["added_size"]),
        }
        for name, (found, expected) in pairs.items():
            if found != expected:
                raise InputError(
                    f"the ControlNet's {name} is {found}, but this U-Net has {expected}; expected was a ControlNet for "
                    "the model that the U-Net is of"
                )

    def look(self, picture: Tensor) -> Tensor:
        """What the pictures alone say.

        Args:
            picture: [b t 3 h w] in [-1, 1], RGB: edges, depth, poses.

        Returns:
            [b t c h/f w/f], for `forward`.
        """
        if picture.ndim != 5 or picture.shape[2] != self.colours:
            raise InputError(
                f"picture has the shape {tuple(picture.shape)}; the ControlNet takes b t {self.colours} h w"
            )
        flips = self.model.config["controlnet_conditioning_channel_order"] == "bgr"

        def embedded(frames: Tensor) -> Tensor:
            frames = (frames + 1) / 2  # as it was trained
            return self.model.controlnet_cond_embedding((frames.flip(1) if flips else frames).to(self.model.dtype))

        parts = [embedded(frames) for frames in picture.flatten(0, 1).split(_FRAMES)]
        return torch.cat(parts).unflatten(0, picture.shape[:2])

    def forward(
        self,
        z: Tensor,
        time: Tensor,
        seen: Tensor,
        *,
        text: Tensor,
        text_mask: Tensor | None = None,
        pooled_text: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Residuals of the features that go from a U-Net's way down to its way up, and, last, of its middle's.

        Args:
            z: noisy clip [b t c h w].
            time: what the schedule's `network_time` gives, [b] or [b t].
            seen: what `look` made of the pictures, [b t c' h w].
            text: token embeddings [b l d].
            text_mask: tokens that count [b l].
            pooled_text: [b d] (Stable Diffusion XL).
            time_ids: [b n] (Stable Diffusion XL).

        Returns:
            [b t c h w] each.

        Raises:
            InputError: pictures of another size than the clip.
        """
        b, t = z.shape[:2]
        if seen.shape[:2] != z.shape[:2] or seen.shape[3:] != z.shape[3:]:
            here, there = (f"{each.shape[1]} frames of {each.shape[3]}x{each.shape[4]}" for each in (seen, z))
            raise InputError(
                f"the ControlNet's pictures have {here} places, but the clip has {there}; expected were pictures "
                f"of the clip's size, {self.factor} pixels along a side of a place"
            )
        net, dtype = self.model, self.model.dtype
        time = (time if time.ndim == 2 else time[:, None]).expand(b, t).flatten()
        told = net.time_embedding(net.time_proj(time).to(dtype))  # (b t) d
        if net.config["addition_embed_type"] == "text_time":
            if pooled_text is None or time_ids is None:
                raise InputError("pooled_text or time_ids is not given; this ControlNet was made to be told both")
            sizes = net.add_time_proj(time_ids.flatten()).reshape(b, -1)
            told = told + net.add_embedding(torch.cat([pooled_text, sizes], dim=-1).to(dtype)).repeat_interleave(t, 0)
        words: dict[str, Any] = {"encoder_hidden_states": text.to(dtype).repeat_interleave(t, 0)}  # (b t) l d
        if text_mask is not None:
            words["encoder_attention_mask"] = ((~text_mask).to(dtype) * -10000.0)[:, None].repeat_interleave(t, 0)

        def attends(block: Any) -> dict[str, Any]:
            return words if getattr(block, "has_cross_attention", False) else {}

        x = net.conv_in(z.flatten(0, 1).to(dtype)) + seen.flatten(0, 1)  # (b t) c0 h w
        features = [x]
        for block in net.down_blocks:
            x, own = block(x, told, **attends(block))
            features += own
        x = net.mid_block(x, told, **attends(net.mid_block))
        layers = (*net.controlnet_down_blocks, net.controlnet_mid_block)
        residuals = [layer(each) for layer, each in zip(layers, (*features, x), strict=True)]
        if net.config["global_pool_conditions"]:
            residuals = [each.mean((2, 3), keepdim=True).expand_as(each) for each in residuals]
        return tuple(each.unflatten(0, (b, t)) for each in residuals)
