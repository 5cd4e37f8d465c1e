"""A flow that draws token sequences about experiment B's prediction, which alone would be their mean.

Rectified flow, or flow matching on straight paths (Liu et al. 2023, arXiv 2209.03003; Lipman et al. 2023, arXiv
2210.02747): from noise z at t = 0 to data x at t = 1 by way of x_t = t x + (1 - t) z, whose velocity x - z a network
learns. Here x is what the prediction leaves of CLAP's tokens, each number scaled by its deviation over the training
set, as regression learns a mean over all captions that an embedding may stand for and the U-Net knows real ones alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.synthesis.schedule import initial_noise
from stages.training.determinism import derive_seed

WAVES = 8
SMALLEST = 0.1  # of a deviation, as a share of their mean: else what hardly varies would rule the loss


def transformer(width: int, blocks: int, heads: int) -> nn.TransformerEncoder:
    """A transformer `[B, T, width]` to the same shape, its norms first, without dropout."""
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)


class TokenFlow(nn.Module):
    """Predicted token features `[B, T, C]` to drawn ones.

    The network gives what of a velocity is not already that of a standard normal x (as Karras et al. 2022 precondition,
    there for diffusion): with a = t^2 + (1 - t)^2 that is ((2t - 1) x_t + a^0.5 network) / a. It begins at zero.
    `steps` and `noise` are those of params.yaml.
    """

    mean_tokens: Tensor
    deviation: Tensor

    def __init__(self, mean_tokens: Tensor, width: int, blocks: int, heads: int, steps: int, noise: float) -> None:
        super().__init__()
        self.steps, self.noise = steps, noise
        length, context_dim = mean_tokens.shape
        self.register_buffer("mean_tokens", mean_tokens.clone())
        self.register_buffer("deviation", torch.ones_like(mean_tokens))
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.enter = nn.Linear(2 * context_dim, width)
        self.time = nn.Linear(WAVES, width)
        self.blocks = transformer(width, blocks, heads)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, context_dim)
        self.gains = nn.Linear(WAVES, length * context_dim)  # `width` may be too narrow for all numbers of x_t
        for parameter in (*self.leave.parameters(), *self.gains.parameters()):
            nn.init.zeros_(parameter)

    def scale_by(self, tokens: Tensor) -> None:
        """From now on scale by the deviations of these tokens `[N, T, C]`."""
        deviation = tokens.std(dim=0).to(self.deviation.device)
        self.deviation = deviation.clamp(min=SMALLEST * float(deviation.mean()))

    def forward(self, noisy: Tensor, times: Tensor, predicted: Tensor) -> Tensor:
        """The network's part of the velocity `[B, T, C]`, of x_t `[B, T, C]` at `times` `[B]`."""
        waves = torch.cos(math.pi * times[:, None] * torch.arange(WAVES, device=times.device))
        given = (predicted - self.mean_tokens) / self.deviation
        hidden = self.enter(torch.cat([noisy, given], dim=-1)) + self.places + self.time(waves)[:, None]
        found: Tensor = self.leave(self.norm(self.blocks(hidden)))
        direct: Tensor = self.gains(waves).unflatten(1, self.mean_tokens.shape) * noisy
        return found + direct

    def loss(self, predicted: Tensor, target: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the network's part of the velocity, at `times` `[B]` from `noise` `[B, T, C]`."""
        left = (target - predicted) / self.deviation
        shares = times[:, None, None]
        noisy = shares * left + (1 - shares) * noise
        wanted = ((1 - shares) * left - shares * noise) / (shares.square() + (1 - shares).square()).sqrt()
        return nn.functional.mse_loss(self(noisy, times, predicted), wanted)

    @torch.no_grad()
    def draw(self, predicted: Tensor, seeds: Sequence[int]) -> Tensor:
        """Token features `[B, T, C]`; a row's noise depends on its own seed alone."""
        own = [derive_seed(seed, "tokens") for seed in seeds]
        state = self.noise * initial_noise(own, tuple(predicted.shape[1:])).to(predicted.device)
        for step in range(self.steps):
            time = step / self.steps
            spread = time**2 + (1 - time) ** 2
            found = self(state, torch.full((len(state),), time, device=state.device), predicted)
            state = state + ((2 * time - 1) * state + spread**0.5 * found) / (spread * self.steps)
        return predicted + self.deviation * state
