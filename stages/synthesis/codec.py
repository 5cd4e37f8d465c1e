"""The codec, `models/codec/`: mel VAE and BigVGAN, and both as later stages load them.

The VAE is diffusers' AutoencoderKL; its input is the raw log10 mel, as in Make-An-Audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.formats.audio import HOP_LENGTH
from stages.formats.files import read_json, write_json
from stages.params.models import GeneratorOptions, Vae
from stages.synthesis.bigvgan import BigVGAN, read_generator
from stages.synthesis.fast_vocoder import hasten

CODEC = Path("models/codec")
# BigVGAN makes so many at a time. One clip stays in a processor's caches, where 32 take three times as long each; a
# card wants many, but at full size no more than 82 s, for memory.
VOCODED_ON_CPU, VOCODED_ON_CARD = 40_960, 32 * 40_960


@dataclass(frozen=True)
class Codec:
    """Mels to latents and on to waveforms; it computes where its networks lie and answers on the CPU.

    `scale_factor` brings latents to a known standard deviation (Rombach et al. 2022, appendix G, where it is 1);
    `latent_shape` `(C, 10, W)` is that of the training clips.
    """

    vae: Any
    vocoder: BigVGAN
    scale_factor: float
    latent_shape: tuple[int, int, int]

    @torch.no_grad()
    def encode(self, mel: Tensor) -> Tensor:
        """Log10 mels `[B, 80, T]` to scaled latents `[B, C, 10, T / 8]`."""
        return encode_mel(self.vae, mel.to(self.vae.device)).cpu() * self.scale_factor

    @torch.no_grad()
    def decode_mel(self, latents: Tensor) -> Tensor:
        """Scaled latents `[B, C, 10, W]` to log10 mels `[B, 80, 8 W]`."""
        return decode_latent(self.vae, (latents / self.scale_factor).to(self.vae.device)).cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `[B, C, 10, W]` to waveforms `[B, 2048 W]`."""
        return self.vocode(self.decode_mel(latents))

    @torch.no_grad()
    def vocode(self, mels: Tensor) -> Tensor:
        """Log10 mels `[B, 80, T]` to waveforms `[B, 256 T]`."""
        at_once = VOCODED_ON_CARD
        if self.vae.device.type == "cpu":
            at_once = VOCODED_ON_CPU
            hasten(self.vocoder)
        parts = mels.split(max(1, at_once // (HOP_LENGTH * mels.shape[2])))
        return torch.cat([self.vocoder(part.to(self.vae.device)).cpu() for part in parts])

    def to(self, device: str) -> Codec:
        """Move both networks, and return the codec."""
        self.vae.to(device)
        self.vocoder.to(device)
        return self


def build_vae(size: Vae) -> Any:
    """Build the VAE with random weights: four levels, from mel `[B, 80, T]` to latent `[B, C, 10, T / 8]`."""
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


def save_codec(
    folder: Path, vae: Any, vocoder: dict[str, Tensor], options: GeneratorOptions, scale_factor: float, shape: list[int]
) -> None:
    """Write the VAE in diffusers' format, BigVGAN's weights, and what builds both again.

    `shape` `(C, 10, W)` is that of the training clips' latents; `scale_factor` see `Codec`.
    """
    vae.save_pretrained(folder / "vae")
    save_file(vocoder, folder / "vocoder.safetensors")
    config = {"scale_factor": scale_factor, "latent_shape": shape, "vocoder": options.model_dump()}
    write_json(folder / "config.json", config)


def load_codec(folder: Path = CODEC) -> Codec:
    """Both halves with their weights, frozen, for evaluation."""
    from diffusers import AutoencoderKL

    config = read_json(folder / "config.json")
    options = GeneratorOptions.model_validate(config["vocoder"])
    vocoder = read_generator(options, load_file(folder / "vocoder.safetensors"))
    vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True).eval().requires_grad_(False)
    return Codec(vae, vocoder.requires_grad_(False), config["scale_factor"], tuple(config["latent_shape"]))
