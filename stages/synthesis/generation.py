"""From a context to latents, by the sampler that params.yaml names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from stages.synthesis.samplers import ddim, dpm_solver, guided, initial_noise


@torch.no_grad()
def sample_latents(
    unet: nn.Module,
    context: Tensor,
    empty: Tensor,
    *,
    seeds: Sequence[int],
    latent_shape: tuple[int, ...],
    sampler: Literal["dpm_solver", "ddim"],
    steps: int,
    guidance_scale: float,
) -> Tensor:
    """Scaled latents `[B, *latent_shape]` for contexts `[B, T, C]`.

    Args:
        unet: diffusers' U-Net, in evaluation mode.
        context: `[B, T, C]`.
        empty: the context of "", `[T, C]`.
        seeds: one a row; it decides that row's starting noise whatever else is in the batch.
        latent_shape: `(channels, 10, width)`.
        sampler: `dpm_solver` (DPM-Solver++ 2M) or `ddim` (as Make-An-Audio samples).
        steps: of the sampler.
        guidance_scale: of classifier-free guidance; 1 is none.
    """
    denoise = guided(unet, context, empty, guidance_scale)
    noise = initial_noise(seeds, latent_shape)
    return dpm_solver(denoise, noise, steps) if sampler == "dpm_solver" else ddim(denoise, noise, steps)
