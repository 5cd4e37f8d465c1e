"""From a context to latents: the samplers, plain functions from noise to a latent, and guidance.

A prediction takes noisy latents `[B, C, H, W]` and one integer timestep and gives what the U-Net's schedule says:
noise or velocity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE, VAE_DOWNSAMPLING
from stages.synthesis.schedule import BETA_END, BETA_START, TRAINING_STEPS, NoiseSchedule, initial_noise
from stages.synthesis.unet import Denoiser

Prediction = Callable[[Tensor, int], Tensor]


def guided(
    denoiser: Denoiser, context: Tensor, empty: Tensor, guidance_scale: float, from_timestep: int = 0
) -> Prediction:
    """Classifier-free guidance (Ho and Salimans 2022): p_empty + scale (p_context - p_empty), in one batched call.

    Args:
        denoiser: U-Net and schedule.
        context: `[B, T, C]`.
        empty: the context of "", `[T, C]`.
        guidance_scale: 1 leaves the second branch out.
        from_timestep: below it the second branch is left out, too: late steps decide no more what is to sound, and
            guidance there adds errors (Kynkäänniemi et al. 2024, "Applying guidance in a limited interval").
    """

    def conditional(latents: Tensor, timestep: int) -> Tensor:
        predicted: Tensor = denoiser(latents, torch.tensor(timestep), context)
        return predicted

    def both(latents: Tensor, timestep: int) -> Tensor:
        if timestep < from_timestep:
            return conditional(latents, timestep)
        contexts = torch.cat([empty.expand_as(context), context])
        predicted = denoiser(torch.cat([latents, latents]), torch.tensor(timestep), contexts)
        unconditional, conditioned = predicted.chunk(2)
        guided_prediction: Tensor = unconditional + guidance_scale * (conditioned - unconditional)
        return guided_prediction

    return conditional if guidance_scale == 1 else both


def ddim(schedule: NoiseSchedule, predict: Prediction, noise: Tensor, steps: int) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12) with eta 0, on Make-An-Audio's timesteps 1, 1 + 1000 // steps, ...

    Where `steps` does not divide 1000 there are more of them than asked, as in Make-An-Audio. Raises ValueError above
    500 steps, which its timesteps cannot hold.
    """
    if not 1 <= steps <= TRAINING_STEPS // 2:
        raise ValueError(
            f"sample.steps={steps}: DDIM takes 1 to {TRAINING_STEPS // 2} steps of a {TRAINING_STEPS}-step schedule"
        )
    alphas = schedule.alphas_cumprod()
    # Of 3, 36, 101 to 111 or 251 to 333 steps the last one would lie beyond the schedule.
    timesteps = [min(index + 1, TRAINING_STEPS - 1) for index in range(0, TRAINING_STEPS, TRAINING_STEPS // steps)]
    latents = noise
    for position in reversed(range(len(timesteps))):
        timestep = timesteps[position]
        alpha = float(alphas[timestep])
        previous = float(alphas[timesteps[position - 1]]) if position else float(alphas[0])
        clean = schedule.clean(predict(latents, timestep), latents, torch.tensor([timestep]))
        residual = (latents - alpha**0.5 * clean) / (1 - alpha) ** 0.5
        latents = previous**0.5 * clean + (1 - previous) ** 0.5 * residual
    return latents


def dpm_solver(schedule: NoiseSchedule, predict: Prediction, noise: Tensor, steps: int) -> Tensor:
    """DPM-Solver++ of second order, multistep (Lu et al. 2022), by diffusers' scheduler.

    Its steps lie on Karras's noise levels (Karras et al. 2022, equation 5), from the noisiest timestep on: 10 of them
    are as near to the limit of many steps as 15 evenly spaced ones. With zero terminal SNR the noisiest level has no
    end, and the steps are evenly spaced in the logarithm of the SNR (Lu et al. 2022, section 3.3): evenly spaced in
    time, 12 of them would lose a fifth of the latents' deviation.
    """
    from diffusers import DPMSolverMultistepScheduler

    spacing = {"use_lu_lambdas": True} if schedule.zero_terminal_snr else {"use_karras_sigmas": True}
    scheduler: Any = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        prediction_type="v_prediction" if schedule.prediction == "velocity" else "epsilon",
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
        **spacing,
    )
    scheduler.set_timesteps(steps)
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(predict(latents, int(timestep)), timestep, latents).prev_sample
    return latents


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
