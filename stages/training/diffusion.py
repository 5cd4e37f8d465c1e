"""The diffusion loss (Ho et al. 2020, eq. 14) on latents, and the same on fixed noise for comparable curves."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.params.section import LossWeighting
from stages.synthesis.schedule import TRAINING_STEPS, NoiseSchedule
from stages.synthesis.unet import Denoiser
from stages.training.determinism import derive_seed

LARGEST_WEIGHT = 5.0
# Latents that the U-Net sees at once where no gradient is wanted; at full size they take 3 GB.
PIECE = 128


def prediction_errors(denoiser: Denoiser, latents: Tensor, context: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mean squared error `[B]` of what the U-Net predicts for each latent, noise or velocity.

    Args:
        denoiser: U-Net and schedule.
        latents: clean and scaled, `[B, C, H, W]`.
        context: `[B, T, D]`.
        noise: standard normal, `[B, C, H, W]`.
        timesteps: integers in 0..999, `[B]`.
    """
    schedule = denoiser.schedule
    predicted = denoiser(schedule.add_noise(latents, noise, timesteps), timesteps, context)
    errors: Tensor = (predicted - schedule.target(latents, noise, timesteps)).square().mean(dim=(1, 2, 3))
    return errors


def random_diffusion_loss(denoiser: Denoiser, latents: Tensor, context: Tensor, weighting: LossWeighting) -> Tensor:
    """The training loss: noise and timesteps drawn from torch's generator, timesteps weighted.

    `plain` is Make-An-Audio's squared error of the prediction. `clean_latent` is that of the clean latent which the
    prediction implies, see `timestep_weights`. One timestep falls into each of B equal parts of the schedule
    (stratified, which leaves the mean of the loss as it is and takes most of its variance).
    """
    count = len(latents)
    timesteps = ((torch.randperm(count) + torch.rand(count)) * TRAINING_STEPS / count).long().to(latents.device)
    noise = torch.randn(latents.shape).to(latents.device)  # the same on every device
    errors = prediction_errors(denoiser, latents, context, noise, timesteps)
    if weighting == "plain":
        return errors.mean()
    return (timestep_weights(denoiser.schedule).to(errors.device)[timesteps] * errors).mean()


def timestep_weights(schedule: NoiseSchedule) -> Tensor:
    """Weights `[1000]` of mean 1 that turn the prediction's error into the clean latent's.

    |x_0 - x_0'|^2 is (1 - a) times the velocity's squared error, and the noise's over SNR = a / (1 - a), there at most
    5 times (Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy", section 3.3). Plain noise
    error hardly sees the noisiest timesteps, where the context decides what is to sound; a short training would never
    get to them.
    """
    alpha = schedule.alphas_cumprod()
    weights = 1 - alpha if schedule.prediction == "velocity" else ((1 - alpha) / alpha).clamp(max=LARGEST_WEIGHT)
    return (weights / weights.mean()).float()


def drop_context(context: Tensor, empty: Tensor, share: float) -> Tensor:
    """Replace a random `share` of the batch's contexts `[B, T, C]` by the features of "" `[T, C]`."""
    dropped = torch.rand(len(context)).to(context.device) < share
    return torch.where(dropped[:, None, None], empty[None], context)


def fixed_diffusion_loss(denoiser: Denoiser, latents: Tensor, context: Tensor, draws: int = 4) -> float:
    """The plain diffusion loss on one fixed set of noise and timesteps, the same for every network and epoch.

    Each latent meets `draws` timesteps, spread evenly over the schedule; noise depends on position and draw alone.
    """
    count, total = len(latents), 0.0
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed("fixed diffusion loss", draw))
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        strata = (torch.arange(count) + draw * count) * TRAINING_STEPS // (draws * count)
        timesteps = strata[torch.randperm(count, generator=generator)].to(latents.device)
        pieces = zip(*(part.split(PIECE) for part in (latents, context, noise, timesteps)), strict=True)
        total += float(torch.cat([prediction_errors(denoiser, *piece) for piece in pieces]).mean())
    return total / draws
