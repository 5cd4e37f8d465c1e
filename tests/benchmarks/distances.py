"""FAD and KAD of many wide embeddings, beside the packages' own formulas.

`frechet-audio-distance` takes scipy's root of the product of both covariances; `kadtk` holds the whole matrices of
kernel values, in float32, and the median of all pairs of real clips.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stages.evaluation.distances import KAD_SCALE, frechet_audio_distance, kernel_audio_distance
from tests.benchmarks.table import Row, beside
from tests.benchmarks.train_b import most_resident, resident

CLIPS, DIMENSIONS = 10_000, 1024


def rows(small: bool) -> list[Row]:
    """Both distances; memory is measured over ours alone, before the peer has run."""
    clips, dimensions = (300, 16) if small else (CLIPS, DIMENSIONS)
    generator = torch.Generator().manual_seed(1)
    real, generated = (torch.randn(clips, dimensions, generator=generator) for _ in range(2))
    generated = 1.1 * generated + 0.05
    size, found = f"of {clips:,} and {clips:,} embeddings of {dimensions} dimensions", []
    for name, what, ours, peer in (
        ("fad", f"FAD {size}, beside scipy's sqrtm", frechet_audio_distance, frechet),
        ("kad", f"KAD {size}, beside whole kernel matrices", kernel_audio_distance, kernel),
    ):
        before = resident()
        with most_resident() as most:
            ours(real, generated)
        what = f"{what}; {most() - before:.2f} GB of own memory"
        one, other = (partial(in_a_tensor, distance, real, generated) for distance in (ours, peer))
        found.append(beside(name, what, one, other, repeats=1))
    return found


def in_a_tensor(distance: Callable[[Tensor, Tensor], float], real: Tensor, generated: Tensor) -> Tensor:
    """A distance as a tensor."""
    return torch.tensor(distance(real, generated), dtype=torch.float64)


def frechet(real: Tensor, generated: Tensor) -> float:
    """The closed form by numpy and scipy, in float64."""
    from scipy.linalg import sqrtm

    one, other = real.double().numpy(), generated.double().numpy()
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1])
    shift = one.mean(0) - other.mean(0)
    return float(shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root.real))


def kernel(real: Tensor, generated: Tensor) -> float:
    """The unbiased sum over all pairs at once, in float32."""
    bandwidth = torch.nn.functional.pdist(real).median()

    def values(one: Tensor, other: Tensor) -> Tensor:
        squares = one.square().sum(1)[:, None] + other.square().sum(1) - 2 * one @ other.T
        return torch.exp(-squares / (2 * bandwidth**2))

    def within(one: Tensor) -> Tensor:
        matrix = values(one, one)
        return (matrix.sum() - matrix.diagonal().sum()) / (len(one) * (len(one) - 1))

    return KAD_SCALE * float(within(real) + within(generated) - 2 * values(real, generated).mean())
