"""BigVGAN's generator: mel to waveform (Lee et al. 2023, "BigVGAN: A Universal Neural Vocoder").

Written from the paper and from the key layout and options of the published checkpoints (NVIDIA/BigVGAN): periodic
activations between a twofold up- and downsampling, residual blocks. Weights are held without weight normalisation;
`read_generator` folds it when it reads a published state.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.params.models import GeneratorOptions, Vocoder
from stages.synthesis.mel import MEL_BANDS
from stages.weights.fitting import load_exactly


def options_of(size: Vocoder) -> GeneratorOptions:
    """The published options that a section of params.yaml stands for."""
    return GeneratorOptions(
        num_mels=MEL_BANDS,
        upsample_initial_channel=size.initial_channels,
        upsample_rates=size.upsample_rates,
        upsample_kernel_sizes=size.upsample_kernel_sizes,
        resblock_kernel_sizes=size.resblock_kernel_sizes,
        resblock_dilation_sizes=[size.resblock_dilations] * len(size.resblock_kernel_sizes),
    )


class BigVGAN(nn.Module):
    """Mel `[B, num_mels, frames]` to waveform `[B, frames * product of the rates]` in [-1, 1]."""

    def __init__(self, size: Vocoder | GeneratorOptions) -> None:
        super().__init__()
        options = options_of(size) if isinstance(size, Vocoder) else size
        channels = options.upsample_initial_channel
        self.conv_pre = nn.Conv1d(options.num_mels, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(options.upsample_rates, options.upsample_kernel_sizes, strict=True):
            upsample = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.Sequential(upsample))
            channels //= 2
            for width, dilations in zip(options.resblock_kernel_sizes, options.resblock_dilation_sizes, strict=True):
                self.resblocks.append(ResidualBlock(channels, width, dilations))
        self.activation_post = AntiAliasedSnake(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """Vocode log mels of the format that the weights were trained on."""
        hidden = self.conv_pre(mel)
        blocks_per_level = len(self.resblocks) // len(self.ups)
        for level, upsample in enumerate(self.ups):
            hidden = upsample(hidden)
            blocks = self.resblocks[level * blocks_per_level : (level + 1) * blocks_per_level]
            hidden = torch.stack([block(hidden) for block in blocks]).mean(0)
        waveform: Tensor = self.conv_post(self.activation_post(hidden))[:, 0]
        return torch.tanh(waveform)


class ResidualBlock(nn.Module):
    """The paper's AMP block: pairs of dilated and undilated convolutions, each after an activation. `[B, C, T]`."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
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


class Snake(nn.Module):
    """`x + sin(a x)^2 / b`, a and b learned per channel as logarithms (paper, section 3.1): snakebeta. `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the activation."""
        alpha, scale = self.alpha_and_scale()
        return torch.addcmul(hidden, torch.sin(hidden * alpha[:, None]).square(), scale[:, None])

    def alpha_and_scale(self) -> tuple[Tensor, Tensor]:
        """Both factors of every channel, a and 1 / b, `[C]`."""
        return self.alpha.exp(), 1 / (self.beta.exp() + 1e-9)


class AntiAliasedSnake(nn.Module):
    """Snake at twice the sampling rate, between low-pass filters that keep its harmonics from folding back.

    Filters and edge padding are those of the published implementation (paper, section 3.2). `[B, C, T]`.
    """

    lowpass: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = Snake(channels)
        self.register_buffer("lowpass", _half_band_filter().repeat(channels, 1, 1), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the activation."""
        channels = hidden.shape[1]
        padded = _repeat_edges(hidden, 5, 5)
        doubled = F.conv_transpose1d(padded, 2 * self.lowpass, stride=2, padding=15, groups=channels)
        return F.conv1d(_repeat_edges(self.act(doubled), 5, 6), self.lowpass, stride=2, groups=channels)


def read_generator(
    size: Vocoder | GeneratorOptions, state: Mapping[str, Tensor], origin: str | Path = "vocoder weights"
) -> BigVGAN:
    """Build a generator with the weights of `state`, a published state or our own, in evaluation mode.

    Raises ValueError where `state` does not fit `size`, or where its low-pass filters are not the published ones.
    """
    generator = BigVGAN(size)
    for name, value in state.items():
        known = _half_band_filter()
        if name.endswith(".filter") and (value.shape != known.shape or (value - known).abs().max() > 1e-3):
            raise ValueError(f"{origin}: {name} is not BigVGAN's filter of 12 taps; other ratios are not known here")
    load_exactly(generator, fold_weight_norm(state, origin), origin)
    return generator.eval()


def fold_weight_norm(state: Mapping[str, Tensor], origin: str | Path = "vocoder weights") -> dict[str, Tensor]:
    """Turn each magnitude g and direction v into `weight = g v / |v|` and drop the constant filters.

    They are called `weight_g`, `weight_v` or, by newer versions of torch, `parametrizations.weight.original0` and `1`.
    Raises ValueError where one of a pair is missing.
    """
    old = {
        re.sub(r"parametrizations\.weight\.original([01])$", lambda match: f"weight_{'gv'[int(match[1])]}", name): value
        for name, value in state.items()
    }
    folded = {}
    for name, value in old.items():
        pair = name[:-1] + ("g" if name.endswith("v") else "v")
        if name.endswith((".weight_v", ".weight_g")) and pair not in old:
            raise ValueError(f"{origin}: {name} without {pair}; get the file again")
        if name.endswith(".weight_v"):
            magnitude, direction = old[pair].float(), value.float()
            if direction.dim() < 2 or magnitude.shape != (len(direction), *[1] * (direction.dim() - 1)):
                shapes = f"{list(magnitude.shape)} and {list(direction.shape)}"
                raise ValueError(
                    f"{origin}: {pair} and {name} of shapes {shapes}, which do not fit; get the file again"
                )
            norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.dim())), keepdim=True)
            if not norm.all():
                raise ValueError(f"{origin}: {name} holds a direction of length 0; get the file again")
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
