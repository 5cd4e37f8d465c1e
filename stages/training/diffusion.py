"""The diffusion loss (Ho et al. 2020, eq. 14) on latents, and the same on fixed noise for comparable curves."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from stages.params.section import LossWeighting
from stages.synthesis.samplers import alphas_cumprod
from stages.training.determinism import derive_seed

TIMESTEPS = 1000
LARGEST_WEIGHT = 5.0
# Latents that the U-Net sees at once where no gradient is wanted; at full size they take 3 GB.
PIECE = 128


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e for latents and noise `[B, C, H, W]`, timesteps `[B]`."""
    alpha = alphas_cumprod()[timesteps.cpu()].float().view(-1, 1, 1, 1).to(latents.device)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def noise_errors(unet: nn.Module, latents: Tensor, context: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mean squared error `[B]` of the noise that the U-Net predicts for each latent.

    Args:
        unet: diffusers' UNet2DConditionModel.
        latents: clean and scaled, `[B, C, H, W]`.
        context: `[B, T, C]`.
        noise: standard normal, `[B, C, H, W]`.
        timesteps: integers in 0..999, `[B]`.
    """
    predicted = unet(add_noise(latents, noise, timesteps), timesteps, encoder_hidden_states=context).sample
    errors: Tensor = (predicted - noise).square().mean(dim=(1, 2, 3))
    return errors


def random_diffusion_loss(unet: nn.Module, latents: Tensor, context: Tensor, weighting: LossWeighting) -> Tensor:
    """The training loss: noise and timesteps drawn from torch's generator, timesteps weighted.

    `plain` is Make-An-Audio's squared error of the noise. `clean_latent` is that of the clean latent which the
    predicted noise implies, see `timestep_weights`.
    """
    timesteps = torch.randint(TIMESTEPS, (len(latents),)).to(latents.device)
    errors = noise_errors(unet, latents, context, torch.randn_like(latents), timesteps)
    return errors.mean() if weighting == "plain" else (timestep_weights().to(errors.device)[timesteps] * errors).mean()


@lru_cache(maxsize=1)
def timestep_weights() -> Tensor:
    """Weights `[1000]` of mean 1, in proportion to min(1 / SNR, 5) with SNR = a_t / (1 - a_t).

    |x_0 - x_0'|^2 = |e - e'|^2 / SNR (Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy",
    section 3.3). Plain noise error hardly sees the noisiest timesteps, where the context decides what is to sound; a
    short training would never get to them.
    """
    alpha = alphas_cumprod()
    weights = ((1 - alpha) / alpha).clamp(max=LARGEST_WEIGHT).float()
    return weights / weights.mean()


def drop_context(context: Tensor, empty: Tensor, share: float) -> Tensor:
    """Replace a random `share` of the batch's contexts `[B, T, C]` by the features of "" `[T, C]`."""
    dropped = torch.rand(len(context)).to(context.device) < share
    return torch.where(dropped[:, None, None], empty[None], context)


def fixed_diffusion_loss(unet: nn.Module, latents: Tensor, context: Tensor, draws: int = 4) -> float:
    """The plain diffusion loss on one fixed set of noise and timesteps, the same for every network and epoch.

    Each latent meets `draws` timesteps, spread evenly over the schedule; noise depends on position and draw alone.
    """
    count, total = len(latents), 0.0
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed("fixed diffusion loss", draw))
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        strata = (torch.arange(count) + draw * count) * TIMESTEPS // (draws * count)
        timesteps = strata[torch.randperm(count, generator=generator)].to(latents.device)
        pieces = zip(*(part.split(PIECE) for part in (latents, context, noise, timesteps)), strict=True)
        total += float(torch.cat([noise_errors(unet, *piece) for piece in pieces]).mean())
    return total / draws
