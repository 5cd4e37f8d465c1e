"""The diffusion loss (Ho et al. 2020, eq. 14) on latents, and the same on fixed noise for comparable curves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.synthesis.samplers import alphas_cumprod
from stages.training.determinism import derive_seed

TIMESTEPS = 1000


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e for latents and noise `[B, C, H, W]`, timesteps `[B]`."""
    alpha = alphas_cumprod()[timesteps].float().view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def diffusion_loss(unet: nn.Module, latents: Tensor, context: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Mean squared error of the noise that the U-Net predicts.

    Args:
        unet: diffusers' UNet2DConditionModel.
        latents: clean and scaled, `[B, C, H, W]`.
        context: `[B, T, C]`.
        noise: standard normal, `[B, C, H, W]`.
        timesteps: integers in 0..999, `[B]`.
    """
    predicted = unet(add_noise(latents, noise, timesteps), timesteps, encoder_hidden_states=context).sample
    return nn.functional.mse_loss(predicted, noise)


def random_diffusion_loss(unet: nn.Module, latents: Tensor, context: Tensor) -> Tensor:
    """The training loss: noise and timesteps drawn from torch's generator."""
    timesteps = torch.randint(TIMESTEPS, (len(latents),))
    return diffusion_loss(unet, latents, context, torch.randn_like(latents), timesteps)


def drop_context(context: Tensor, empty: Tensor, share: float) -> Tensor:
    """Replace a random `share` of the batch's contexts `[B, T, C]` by the features of "" `[T, C]`."""
    dropped = torch.rand(len(context)) < share
    return torch.where(dropped[:, None, None], empty[None], context)


def fixed_diffusion_loss(unet: nn.Module, latents: Tensor, context: Tensor, draws: int = 4) -> float:
    """The diffusion loss on one fixed set of noise and timesteps, the same for every network and epoch.

    Each latent meets `draws` timesteps, spread evenly over the schedule; noise depends on position and draw alone.
    """
    count, total = len(latents), 0.0
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed("fixed diffusion loss", draw))
        noise = torch.randn(latents.shape, generator=generator)
        strata = (torch.arange(count) + draw * count) * TIMESTEPS // (draws * count)
        timesteps = strata[torch.randperm(count, generator=generator)]
        total += float(diffusion_loss(unet, latents, context, noise, timesteps))
    return total / draws
