"""From a context to latents, by the sampler that params.yaml names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE, VAE_DOWNSAMPLING
from stages.synthesis.samplers import ddim, dpm_solver, guided, initial_noise
from stages.synthesis.unet import Denoiser


@torch.no_grad()
def sample_latents(
    denoiser: Denoiser,
    context: Tensor,
    empty: Tensor,
    *,
    seeds: Sequence[int],
    latent_shape: tuple[int, ...],
    sampler: Literal["dpm_solver", "ddim"],
    steps: int,
    guidance_scale: float,
    guidance_from_timestep: int,
) -> Tensor:
    """Scaled latents `[B, *latent_shape]` for contexts `[B, T, C]`, computed where the U-Net lies, given on the CPU.

    Args:
        denoiser: U-Net and schedule, in evaluation mode.
        context: `[B, T, C]`.
        empty: the context of "", `[T, C]`.
        seeds: one a row; it decides that row's starting noise whatever else is in the batch.
        latent_shape: `(channels, 10, width)`.
        sampler: `dpm_solver` (DPM-Solver++ 2M) or `ddim` (as Make-An-Audio samples).
        steps: of the sampler.
        guidance_scale: of classifier-free guidance; 1 is none.
        guidance_from_timestep: below it there is none; 0 guides all steps.
    """
    device = next(denoiser.parameters()).device
    predict = guided(denoiser, context.to(device), empty.to(device), guidance_scale, guidance_from_timestep)
    noise = initial_noise(seeds, latent_shape).to(device)
    solve = dpm_solver if sampler == "dpm_solver" else ddim
    return solve(denoiser.schedule, predict, noise, steps).cpu()


def latent_width(seconds: float) -> int:
    """Columns of the latent that hold a clip of `seconds`: a multiple of 4, as Make-An-Audio takes them.

    Raises ValueError outside 1 to 32 s.
    """
    if not 1 <= seconds <= 32:
        raise ValueError(f"--seconds {seconds:g}: give 1 to 32; Make-An-Audio learned clips of 10")
    return 4 * math.ceil(seconds * SAMPLE_RATE / (4 * HOP_LENGTH * VAE_DOWNSAMPLING) - 1e-9)
