"""BigVGAN's anti-aliased activation in one pass over memory, for inference on a processor.

What `AntiAliasedSnake` says in seven operations over the whole signal is compiled by numba into one loop over pieces
that stay in the processor's nearest cache; between the two filters no zero is stuffed and none multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.synthesis.bigvgan import AntiAliasedSnake

PIECE, HALO = 1024, 3
# pi in two parts, the first of few digits, so that its multiples are exact (Cody and Waite 1980).
PI_HIGH, PI_LOW, PER_PI = np.float32(3.140625), np.float32(9.6765358979e-4), np.float32(0.31830988618)
# Of the sine's series, which up to pi / 2 leaves 6e-8.
SINE_1, SINE_2, SINE_3, SINE_4, SINE_5 = map(np.float32, (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800))
Array = NDArray[np.float32]


class FusedSnake(nn.Module):
    """An `AntiAliasedSnake`, for inference on a processor: float32, without gradients. `[B, C, T]`."""

    def __init__(self, plain: AntiAliasedSnake) -> None:
        super().__init__()
        self.taps = plain.lowpass[0, 0]
        self.alpha, self.scale = (value.detach() for value in plain.act.alpha_and_scale())

    def forward(self, hidden: Tensor) -> Tensor:
        """Upsample twofold, `x + scale sin(alpha x)^2`, downsample."""
        rows = hidden.contiguous().view(-1, hidden.shape[-1])
        out = torch.empty_like(rows)
        alpha, scale = self.alpha.repeat(len(hidden)), self.scale.repeat(len(hidden))
        arrays = [one.contiguous().numpy() for one in (rows, alpha, scale, self.taps, out)]
        threads = min(torch.get_num_threads(), len(rows))
        ends = np.linspace(0, len(rows), threads + 1).astype(int)
        if threads == 1:
            _rows(*arrays, 0, len(rows))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda first, last: _rows(*arrays, first, last), ends[:-1], ends[1:]))
        return out.view_as(hidden)


def compiled(loop: Callable[..., Any]) -> Any:
    """A loop in machine code, which numba keeps on disk, or makes anew in each process where it may write nowhere."""
    machine_code = partial(njit, nogil=True, fastmath={"contract"})
    try:
        return machine_code(cache=True)(loop)
    except RuntimeError:
        return machine_code()(loop)


@compiled
def _rows(signal: Array, alpha: Array, scale: Array, f: Array, out: Array, first: int, last: int) -> None:
    length = signal.shape[1]
    x = np.empty(PIECE + 4 * HALO, np.float32)
    even = np.empty(PIECE + 2 * HALO, np.float32)
    odd = np.empty(PIECE + 2 * HALO, np.float32)
    for row in range(first, last):
        for start in range(0, length, PIECE):
            count = min(PIECE, length - start)
            before, behind = max(0, 2 * HALO - start), min(count + 4 * HALO, length - start + 2 * HALO)
            x[:before] = signal[row, 0]
            x[before:behind] = signal[row, start + before - 2 * HALO : start + behind - 2 * HALO]
            x[behind:] = signal[row, length - 1]
            two = np.float32(2)
            for i in range(count + 2 * HALO):
                even[i] = two * (
                    f[11] * x[i]
                    + f[9] * x[i + 1]
                    + f[7] * x[i + 2]
                    + f[5] * x[i + 3]
                    + f[3] * x[i + 4]
                    + f[1] * x[i + 5]
                )
                odd[i] = two * (
                    f[10] * x[i + 1]
                    + f[8] * x[i + 2]
                    + f[6] * x[i + 3]
                    + f[4] * x[i + 4]
                    + f[2] * x[i + 5]
                    + f[0] * x[i + 6]
                )
            _snake(even, count + 2 * HALO, alpha[row], scale[row])
            _snake(odd, count + 2 * HALO, alpha[row], scale[row])
            # Beyond the ends the doubled signal stays at its first and last value.
            for i in range(max(0, HALO - start)):
                even[i] = odd[i] = even[HALO - start]
            for i in range(length - start + HALO, count + 2 * HALO):
                even[i] = odd[i] = odd[length - start + HALO - 1]
            made = out[row, start : start + count]
            for i in range(count):
                made[i] = (
                    f[0] * odd[i]
                    + f[1] * even[i + 1]
                    + f[2] * odd[i + 1]
                    + f[3] * even[i + 2]
                    + f[4] * odd[i + 2]
                    + f[5] * even[i + 3]
                    + f[6] * odd[i + 3]
                    + f[7] * even[i + 4]
                    + f[8] * odd[i + 4]
                    + f[9] * even[i + 5]
                    + f[10] * odd[i + 5]
                    + f[11] * even[i + 6]
                )


@compiled
def _snake(values: Array, count: int, alpha: Any, scale: Any) -> None:
    for i in range(count):
        angle = alpha * values[i]
        turns = np.floor(angle * PER_PI + np.float32(0.5))
        rest = (angle - turns * PI_HIGH) - turns * PI_LOW
        square = rest * rest
        series = SINE_5
        series = series * square + SINE_4
        series = series * square + SINE_3
        series = series * square + SINE_2
        series = series * square + SINE_1
        sine = rest + rest * square * series
        values[i] = values[i] + scale * sine * sine
