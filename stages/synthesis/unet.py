"""The backbone: diffusers' UNet2DConditionModel in the shape of Make-An-Audio's, and what its output means."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stages.formats.files import read_json, write_json
from stages.params.models import TrainedBackbone
from stages.synthesis.schedule import NoiseSchedule

BACKBONE = Path("models/backbone")
SCHEDULE = "noise_schedule.json"


class Denoiser(nn.Module):
    """A U-Net and its noise schedule.

    Where the U-Net was built for it, the context's first token, CLAP's embedding of the whole caption, also goes into
    the time embedding: it scales and shifts every channel and so reaches all of a clip at once.
    """

    def __init__(self, unet: Any, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.unet = unet
        self.schedule = schedule

    def forward(self, noisy: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """Predict noise or velocity `[B, C, 10, W]`.

        Args:
            noisy: latents `[B, C, 10, W]`.
            timesteps: integers in 0..999, `[B]` or a scalar.
            context: `[B, T, D]`.
        """
        pooled = context[:, 0] if self.unet.config.class_embed_type else None
        predicted: Tensor = self.unet(noisy, timesteps, encoder_hidden_states=context, class_labels=pooled).sample
        return predicted


def build_denoiser(size: TrainedBackbone, latent_channels: int, context_dim: int) -> Denoiser:
    """Build the U-Net with random weights: cross-attention at every level."""
    from diffusers import UNet2DConditionModel

    levels = len(size.channels)
    unet = UNet2DConditionModel(
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
        class_embed_type="projection" if size.pooled_context else None,
        projection_class_embeddings_input_dim=context_dim if size.pooled_context else None,
        resnet_time_scale_shift="scale_shift" if size.pooled_context else "default",
    )
    return Denoiser(unet, NoiseSchedule(size.prediction, size.zero_terminal_snr))


def save_denoiser(folder: Path, denoiser: Denoiser) -> None:
    """Write the U-Net in diffusers' format, and its schedule beside it."""
    denoiser.unet.save_pretrained(folder)
    write_json(folder / SCHEDULE, asdict(denoiser.schedule))


def load_denoiser(folder: Path = BACKBONE) -> Denoiser:
    """The backbone with its weights."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folder, local_files_only=True)
    return Denoiser(unet, NoiseSchedule(**read_json(folder / SCHEDULE)))


def build_like(folder: Path = BACKBONE) -> Denoiser:
    """A denoiser of the size of that in `folder`, with random weights."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, local_files_only=True))
    return Denoiser(unet, NoiseSchedule(**read_json(folder / SCHEDULE)))
