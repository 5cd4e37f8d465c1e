"""The backbone's U-Net: diffusers' UNet2DConditionModel in the shape of Make-An-Audio's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.params.models import Backbone

BACKBONE = Path("models/backbone")


def build_unet(size: Backbone, latent_channels: int, context_dim: int) -> Any:
    """Build the U-Net with random weights: cross-attention at every level.

    It maps noisy latents `[B, latent_channels, 10, W]`, timesteps `[B]` and a context `[B, T, context_dim]` to noise.
    """
    from diffusers import UNet2DConditionModel

    levels = len(size.channels)
    return UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=tuple(size.channels),
        layers_per_block=size.layers_per_block,
        # diffusers' name says dimension, its Stable Diffusion U-Nets mean the number of heads.
        attention_head_dim=size.attention_heads,
        norm_num_groups=size.norm_groups,
        cross_attention_dim=context_dim,
    )


def load_unet(folder: Path = BACKBONE) -> Any:
    """The backbone's U-Net with its weights."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder, local_files_only=True)


def build_like(folder: Path = BACKBONE) -> Any:
    """A U-Net of the size of that in `folder`, with random weights."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, local_files_only=True))
