"""The mel VAE: diffusers' AutoencoderKL with four levels, from mel `[B, 80, T]` to latent `[B, C, 10, T / 8]`.

Its input is the raw log10 mel, as in Make-An-Audio.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from stages.params.models import Vae


def build_vae(size: Vae) -> Any:
    """Build the VAE with random weights."""
    from diffusers import AutoencoderKL

    levels = len(size.channels)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(size.channels),
        layers_per_block=size.layers_per_block,
        latent_channels=size.latent_channels,
        norm_num_groups=size.norm_groups,
        sample_size=80,
    )


def encode_mel(vae: Any, mel: Tensor) -> Tensor:
    """Log10 mels `[B, 80, T]` to the means of their latents `[B, C, 10, T / 8]`, not yet scaled."""
    latents: Tensor = vae.encode(mel[:, None]).latent_dist.mean
    return latents


def decode_latent(vae: Any, latents: Tensor) -> Tensor:
    """Unscaled latents `[B, C, 10, W]` to log10 mels `[B, 80, 8 W]`."""
    mel: Tensor = vae.decode(latents).sample
    return mel[:, 0]
