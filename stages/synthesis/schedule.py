"""The noise schedule: how noise is mixed into latents, and what a U-Net's output means.

Latents `[B, C, H, W]`, timesteps integer tensors `[B]` in 0..999; a is the cumulative product of 1 - beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

TRAINING_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


@dataclass(frozen=True)
class NoiseSchedule:
    """What a U-Net was trained with; it stands beside its weights.

    `prediction`: `noise` e, or `velocity` sqrt(a) e - sqrt(1 - a) x_0 (Salimans and Ho 2022, appendix D).
    `zero_terminal_snr`: the last timestep is noise alone (Lin et al. 2023, arXiv 2305.08891, algorithm 1), so that a
    clip's level and colour come from the caption and not from the noise. It needs the velocity.
    """

    prediction: Literal["noise", "velocity"]
    zero_terminal_snr: bool

    def alphas_cumprod(self) -> Tensor:
        """Cumulative products `[1000]` (float64)."""
        return _alphas_cumprod(self.zero_terminal_snr)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e."""
        signal, deviation = self._at(timesteps, latents)
        return signal * latents + deviation * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the U-Net is to predict for x_t."""
        if self.prediction == "noise":
            return noise
        signal, deviation = self._at(timesteps, latents)
        return signal * noise - deviation * latents

    def clean(self, predicted: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latent x_0 that a prediction for x_t implies."""
        signal, deviation = self._at(timesteps, noisy)
        if self.prediction == "noise":
            return (noisy - deviation * predicted) / signal
        return signal * noisy - deviation * predicted

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alpha = self.alphas_cumprod()[timesteps.cpu()].float().view(-1, 1, 1, 1).to(like.device)
        return alpha.sqrt(), (1 - alpha).sqrt()


MAKE_AN_AUDIO = NoiseSchedule("noise", zero_terminal_snr=False)


def initial_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise `[B, *shape]`; a row depends on its own seed alone."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@lru_cache(maxsize=2)
def _alphas_cumprod(zero_terminal_snr: bool) -> Tensor:
    """Beta = linspace(sqrt 0.00085, sqrt 0.012)^2, as in Make-An-Audio; shifted and scaled for zero terminal SNR."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAINING_STEPS, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, dim=0)
    if not zero_terminal_snr:
        return alphas
    signal = alphas.sqrt()
    shifted: Tensor = ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2
    return shifted
