"""Convolutions along time by fewer multiplications than taps, for wide layers on a processor.

Pieces of the signal are transformed by a short discrete Fourier transform; there a convolution is one product of
matrices a frequency, and the way back gives several outputs a piece (overlap-save: Oppenheim and Schafer,
"Discrete-Time Signal Processing", section 8.7). A product of complex numbers is three real ones (Gauss). For 11 taps
and pieces of 24 that is 35 products for 14 outputs in place of 154, for 7 taps and pieces of 16 it is 23 for 10 in
place of 70; 3 taps gain nothing. Rounding adds no more than in the plain sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST = 1000  # channels times taps: below it the transforms cost more than they spare


class ShortConvolution(nn.Module):
    """A `Conv1d` of stride 1 that keeps the length, for inference. `[B, C, T]` to `[B, C', T]`."""

    ahead: Tensor
    kernel: Tensor
    back: Tensor

    def __init__(self, plain: nn.Conv1d) -> None:
        super().__init__()
        assert plain.bias is not None
        (self.taps,), (self.dilation,), self.bias = plain.kernel_size, plain.dilation, plain.bias
        forward, weights, back = _transforms(16 if self.taps < 9 else 24, self.taps)
        kernel = torch.einsum("pk,oik->poi", weights.to(plain.weight), plain.weight.detach())
        for name, value in {"ahead": forward, "kernel": kernel.contiguous(), "back": back}.items():
            self.register_buffer(name, value.to(plain.weight), persistent=False)

    @staticmethod
    def gains(layer: nn.Module) -> bool:
        """Whether a layer is of the kind that this stands for, and wide and long enough to be faster so."""
        if not (isinstance(layer, nn.Conv1d) and layer.padding == "same" and layer.groups == 1):
            return False
        (taps,) = layer.kernel_size
        return taps % 2 == 1 and 5 <= taps <= 15 and layer.in_channels * taps >= LEAST

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve."""
        batch, channels, length = hidden.shape
        outputs, dilation = len(self.back), self.dilation
        pieces = -(-length // (outputs * dilation))
        margin = (self.taps - 1) // 2 * dilation
        padded = F.pad(hidden, (margin, margin + pieces * outputs * dilation - length))
        # [piece's samples, C, B, pieces, dilation]: pieces overlap, and one holds every `dilation`-th sample.
        rows, total = channels * padded.shape[2], padded.shape[2]
        steps = (dilation, total, rows, outputs * dilation, 1)
        size = self.ahead.shape[1]
        frames = padded.as_strided((size, channels, batch, pieces, dilation), steps).reshape(size, -1)
        products = torch.bmm(self.kernel, (self.ahead @ frames).view(len(self.kernel), channels, -1))
        back = (self.back @ products.view(len(products), -1)).view(outputs, -1, batch, pieces, dilation)
        joined = back.permute(2, 1, 3, 0, 4).reshape(batch, -1, pieces * outputs * dilation)
        return joined[..., :length] + self.bias[:, None]


def _transforms(size: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices to products `[P, size]` of a piece and `[P, taps]` of a kernel, and from them `[outputs, P]`."""
    angles = 2 * math.pi / size * torch.arange(1, size // 2, dtype=torch.float64)[:, None] * torch.arange(size)
    cos, sin, one = angles.cos(), angles.sin(), torch.ones(1, size, dtype=torch.float64)
    ends = torch.cat([one, one * (1 - 2 * (torch.arange(size) % 2))])
    forward = torch.cat([ends, cos - sin, cos, -sin])
    # A conjugate spectrum, as torch's convolution does not turn its kernel round.
    weights = torch.cat([ends, 2 * cos, 2 * (sin - cos), 2 * (cos + sin)])[:, :taps] / size
    back = torch.cat([ends, cos - sin, -sin, -cos])[:, : size - taps + 1].T
    return forward, weights, back
