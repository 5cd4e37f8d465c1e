"""BigVGAN v1's generator: log10 mel to waveform (Lee et al. 2023, "BigVGAN: A Universal Neural Vocoder").

Written from the paper and from the key layout of the published checkpoints (NVIDIA/BigVGAN): periodic activations with
logarithmic parameters (snakebeta) between a twofold up- and downsampling, residual blocks of the first kind. Weights
are held without weight normalisation; `read_generator` folds it when it reads a published state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.plumbing.model_params import Vocoder
from stages.synthesis.mel import MEL_BANDS


class BigVGAN(nn.Module):
    """Mel `[B, 80, frames]` to waveform `[B, frames * 256]` in [-1, 1]."""

    def __init__(self, size: Vocoder) -> None:
        super().__init__()
        channels = size.initial_channels
        self.conv_pre = nn.Conv1d(MEL_BANDS, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(size.upsample_rates, size.upsample_kernel_sizes, strict=True):
            upsample = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.Sequential(upsample))
            channels //= 2
            for width in size.resblock_kernel_sizes:
                self.resblocks.append(ResidualBlock(channels, width, size.resblock_dilations))
        self.activation_post = AntiAliasedSnake(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """Vocode log10 mels of Make-An-Audio's format."""
        hidden = self.conv_pre(mel)
        blocks_per_level = len(self.resblocks) // len(self.ups)
        for level, upsample in enumerate(self.ups):
            hidden = upsample(hidden)
            blocks = self.resblocks[level * blocks_per_level : (level + 1) * blocks_per_level]
            hidden = torch.stack([block(hidden) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(self.activation_post(hidden)))[:, 0]


class ResidualBlock(nn.Module):
    """The paper's AMP block: pairs of dilated and undilated convolutions, each after an activation. `[B, C, T]`."""

    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding="same") for dilation in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding="same") for _ in dilations)
        self.activations = nn.ModuleList(AntiAliasedSnake(channels) for _ in range(2 * len(dilations)))

    def forward(self, hidden: Tensor) -> Tensor:
        """Add the residual of every pair."""
        for index, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            residual = dilated(self.activations[2 * index](hidden))
            hidden = hidden + plain(self.activations[2 * index + 1](residual))
        return hidden


class SnakeBeta(nn.Module):
    """`x + sin(a x)^2 / b`, a and b learned per channel as logarithms (paper, section 3.1). `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the activation."""
        alpha = self.alpha.exp()[:, None]
        scale = 1 / (self.beta.exp()[:, None] + 1e-9)
        return torch.addcmul(hidden, torch.sin(hidden * alpha).square(), scale)


class AntiAliasedSnake(nn.Module):
    """Snakebeta at twice the sampling rate, between low-pass filters that keep its harmonics from folding back.

    Filters and edge padding are those of the published implementation (paper, section 3.2). `[B, C, T]`.
    """

    lowpass: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.register_buffer("lowpass", _half_band_filter().repeat(channels, 1, 1), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the activation."""
        channels = hidden.shape[1]
        padded = _repeat_edges(hidden, 5, 5)
        doubled = F.conv_transpose1d(padded, 2 * self.lowpass, stride=2, padding=15, groups=channels)
        return F.conv1d(_repeat_edges(self.act(doubled), 5, 6), self.lowpass, stride=2, groups=channels)


def read_generator(size: Vocoder, state: Mapping[str, Tensor]) -> BigVGAN:
    """Build a generator of `size` with the weights of `state`: a published state or our own.

    Raises ValueError where `state` does not fit `size`.
    """
    generator = BigVGAN(size)
    try:
        generator.load_state_dict(fold_weight_norm(state))
    except RuntimeError as error:
        raise ValueError(f"vocoder weights do not fit the sizes of params.yaml, codec.vocoder: {error}") from None
    return generator.eval()


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn each pair `weight_g`, `weight_v` into `weight = g v / |v|` and drop the constant filters."""
    folded = {}
    for name, value in state.items():
        if name.endswith(".weight_v"):
            magnitude = state[name.removesuffix("_v") + "_g"].float()
            direction = value.float()
            norm = direction.norm(dim=tuple(range(1, direction.dim())), keepdim=True)
            folded[name.removesuffix("_v")] = magnitude * direction / norm
        elif not name.endswith((".weight_g", ".filter")):
            folded[name] = value.float()
    return folded


# A fifth of the whole generator's time is saved by not padding with F.pad(mode="replicate").
def _repeat_edges(signal: Tensor, left: int, right: int) -> Tensor:
    first, last = signal[..., :1], signal[..., -1:]
    return torch.cat([first.expand(-1, -1, left), signal, last.expand(-1, -1, right)], dim=-1)


def _half_band_filter() -> Tensor:
    """Windowed sinc of 12 taps `[1, 1, 12]`: cut-off a quarter of the rate, Kaiser's window and his formulas for it."""
    taps, cutoff, transition = 12, 0.25, 0.3
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * transition + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    time = torch.arange(taps) - (taps - 1) / 2
    filter_ = torch.kaiser_window(taps, periodic=False, beta=beta) * torch.sinc(2 * cutoff * time)
    return (filter_ / filter_.sum())[None, None]
