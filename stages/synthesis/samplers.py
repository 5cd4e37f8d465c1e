"""Make-An-Audio's noise schedule and the samplers: plain functions from noise to a latent.

A denoiser takes noisy latents `[B, C, H, W]` and one integer timestep and gives the predicted noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

TRAINING_STEPS = 1000
Denoiser = Callable[[Tensor, int], Tensor]


@lru_cache(maxsize=1)
def alphas_cumprod() -> Tensor:
    """Cumulative products `[1000]` (float64) of 1 - beta, beta = linspace(sqrt 0.00085, sqrt 0.012)^2."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TRAINING_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise `[B, *shape]`; a row depends on its own seed alone."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def guided(unet: nn.Module, context: Tensor, empty: Tensor, guidance_scale: float) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans 2022): e_empty + scale (e_context - e_empty), in one batched call.

    Args:
        unet: diffusers' U-Net.
        context: `[B, T, C]`.
        empty: the context of "", `[T, C]`.
        guidance_scale: 1 leaves the second branch out.
    """

    def conditional(latents: Tensor, timestep: int) -> Tensor:
        noise: Tensor = unet(latents, timestep, encoder_hidden_states=context).sample
        return noise

    def both(latents: Tensor, timestep: int) -> Tensor:
        contexts = torch.cat([empty.expand_as(context), context])
        unconditional, conditioned = unet(
            torch.cat([latents, latents]), timestep, encoder_hidden_states=contexts
        ).sample.chunk(2)
        noise: Tensor = unconditional + guidance_scale * (conditioned - unconditional)
        return noise

    return conditional if guidance_scale == 1 else both


def ddim(denoise: Denoiser, noise: Tensor, steps: int) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12) with eta 0, on Make-An-Audio's timesteps 1, 1 + 1000 // steps, ...

    Where `steps` does not divide 1000 there are more of them than asked, as in Make-An-Audio. Raises ValueError above
    500 steps, which its timesteps cannot hold.
    """
    if not 1 <= steps <= TRAINING_STEPS // 2:
        raise ValueError(
            f"sample.steps={steps}: DDIM takes 1 to {TRAINING_STEPS // 2} steps of a {TRAINING_STEPS}-step schedule"
        )
    alphas = alphas_cumprod()
    # Of 3, 36, 101 to 111 or 251 to 333 steps the last one would lie beyond the schedule.
    timesteps = [min(index + 1, TRAINING_STEPS - 1) for index in range(0, TRAINING_STEPS, TRAINING_STEPS // steps)]
    latents = noise
    for position in reversed(range(len(timesteps))):
        timestep = timesteps[position]
        alpha = float(alphas[timestep])
        previous = float(alphas[timesteps[position - 1]]) if position else float(alphas[0])
        predicted = denoise(latents, timestep)
        clean = (latents - (1 - alpha) ** 0.5 * predicted) / alpha**0.5
        latents = previous**0.5 * clean + (1 - previous) ** 0.5 * predicted
    return latents


def dpm_solver(denoise: Denoiser, noise: Tensor, steps: int) -> Tensor:
    """DPM-Solver++ of second order, multistep (Lu et al. 2022), by diffusers' scheduler.

    Its steps lie on Karras's noise levels (Karras et al. 2022, equation 5), from the noisiest timestep on: 10 of them
    are as near to the limit of many steps as 15 evenly spaced ones.
    """
    from diffusers import DPMSolverMultistepScheduler

    scheduler: Any = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        use_karras_sigmas=True,
    )
    scheduler.set_timesteps(steps)
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(denoise(latents, int(timestep)), timestep, latents).prev_sample
    return latents
