"""Distances between a set of real and a set of generated clips, both given as embeddings of a judge.

`frechet_counted` and `kernel_counted` give them as functions of how often each generated clip is counted, from which
`stages.evaluation.intervals` draws confidence intervals without computing anything twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Counted = Callable[[Array], Array]  # counts of the generated clips [draws, M] to distances [draws]

KAD_SCALE = 100.0
PIECE = 1000  # clips that are taken at a time, or paired with as many, which keeps memory flat
MOST_FOR_MEDIAN = 2000  # clips, evenly taken
LEAST_OF_MOST = 1e-12  # below it an eigenvalue, beside the largest, is too much rounding to take the root of


def frechet_audio_distance(real: Tensor, generated: Tensor) -> float:
    """Frechet distance between Gaussians fitted to both sets (Kilgour et al. 2019, FAD); 0 is best.

    Computed in float64. The estimate is biased upwards for few clips, so compare only sets of equal size, and keep D
    well below the number of clips.

    Args:
        real: embeddings `[N, D]`.
        generated: embeddings `[M, D]`.

    Raises:
        ValueError: fewer than two clips in a set.
    """
    _check(real, generated)
    moments = [_moments(one) for one in (real, generated)]
    shift, spread = moments[0][0] - moments[1][0], moments[0][1].trace() + moments[1][1].trace()
    overlap = _overlap(*(covariance for _, covariance in moments))
    if overlap is None:
        # What an eigenvalue loses to rounding, a singular value of the factors of both covariances does not.
        factors = [
            torch.linalg.qr((one.double() - mean) / math.sqrt(len(one) - 1), mode="r").R
            for one, (mean, _) in zip((real, generated), moments, strict=True)
        ]
        overlap = torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    return max(0.0, float(shift.square().sum() + spread - 2 * overlap))


def _moments(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[D]` and covariance `[D, D]` of embeddings `[N, D]`."""
    from scipy.linalg.blas import dsyrk

    mean = torch.stack([part.double().sum(0) for part in clips.split(PIECE)]).sum(0) / len(clips)
    squares = np.zeros((len(mean), len(mean)), order="F")
    for part in clips.split(PIECE):
        # One triangle, which is half the work of a product.
        dsyrk(1 / (len(clips) - 1), (part.double() - mean).numpy().T, 1, squares, lower=1, overwrite_c=1)
    lower = torch.from_numpy(squares)
    return mean, lower + lower.tril(-1).T


def _overlap(real: Tensor, generated: Tensor) -> Tensor | None:
    """The trace of the root of the product of two covariances, or None where one is as good as singular."""
    lower, failed = torch.linalg.cholesky_ex(real)
    if failed:
        return None
    # A symmetric matrix with the product's eigenvalues.
    values = torch.linalg.eigvalsh(lower.T @ generated @ lower)
    return values.sqrt().sum() if values[0] > LEAST_OF_MOST * values[-1] else None


def kernel_audio_distance(real: Tensor, generated: Tensor) -> float:
    """100 times the unbiased squared MMD under a Gaussian kernel (Chung et al. 2025, "KAD: No More FAD!").

    The bandwidth is the median distance between pairs of the real set (of 2,000 of its clips where it has more), so the
    two arguments cannot be swapped. The factor 100 is that of the authors' toolkit (YoonjinXD/kadtk). Unbiased means
    that two samples of one distribution score 0 on average: small negative values are possible. Memory does not grow
    with the number of clips, as pairs of a thousand are taken at a time.

    Args:
        real: embeddings `[N, D]`.
        generated: embeddings `[M, D]`.

    Raises:
        ValueError: fewer than two clips in a set, real embeddings of which more than half of the pairs coincide.
    """
    return float(kernel_counted(real, generated)(np.ones((1, len(generated))))[0])


def frechet_counted(real: Tensor, generated: Tensor) -> Counted:
    """`frechet_audio_distance` as a function of how often each generated clip is counted; errors are the same."""
    _check(real, generated)
    real, generated = real.double(), generated.double()
    real_clips, clips = (real - real.mean(0)).numpy(), (generated - real.mean(0)).numpy()
    # factor.T @ factor is the real covariance; the trace of the root of the product of both covariances is the sum
    # of the roots of the eigenvalues of a symmetric matrix, which stay real.
    factor = np.linalg.qr(real_clips, mode="r") / np.sqrt(len(real) - 1)

    def distance(counts: Array) -> Array:
        mean = counts @ clips / counts.sum(1, keepdims=True)
        size = clips.shape[1]
        covariance = np.stack(
            [np.cov(clips, rowvar=False, fweights=row.astype(int)).reshape(size, size) for row in counts]
        )
        overlap = np.sqrt(np.linalg.eigvalsh(factor @ covariance @ factor.T).clip(min=0)).sum(-1)
        spread = np.square(factor).sum() + np.trace(covariance, axis1=1, axis2=2)
        result: Array = np.square(mean).sum(-1) + spread - 2 * overlap
        return result

    return distance


def kernel_counted(real: Tensor, generated: Tensor) -> Counted:
    """`kernel_audio_distance` as a function of how often each generated clip is counted; errors are the same.

    A clip that is counted n times stands for n clips of other captions: it is never paired with its own copy, which
    would pull every draw upwards. At least two different clips must be counted.
    """
    _check(real, generated)
    real, generated = real.double(), generated.double()
    bandwidth = float(torch.nn.functional.pdist(real[:: -(-len(real) // MOST_FOR_MEDIAN)]).median())
    if bandwidth == 0:
        raise ValueError("half or more of the real clips have the same embedding; the judge tells nothing apart")
    # In units in which the kernel is exp(-squared distance), and around zero, where products lose no digits.
    real, generated = ((one - real.mean(0)) / (math.sqrt(2) * bandwidth) for one in (real, generated))
    pairs_of_real = sum(weight * float(values.sum()) for _, _, weight, values in _within(real))
    real_mean = pairs_of_real / (len(real) * (len(real) - 1))
    between = np.concatenate(
        [sum(_kernel(part, clips).sum(0).numpy() for part in real.split(PIECE)) for clips in generated.split(PIECE)]
    ) / len(real)

    def distance(counts: Array) -> Array:
        total = counts.sum(1)
        pairs = np.zeros(len(counts))
        for rows, columns, weight, values in _within(generated):
            pairs += weight * ((counts[:, rows] @ values) * counts[:, columns]).sum(1)
        mean = pairs / (total**2 - np.square(counts).sum(1))
        result: Array = KAD_SCALE * (real_mean + mean - 2 * counts @ between / total)
        return result

    return distance


def _within(points: Tensor) -> Iterator[tuple[slice, slice, int, Array]]:
    """Kernel values of all pairs of `points` `[N, D]`, piece by piece, each with its weight: a pair is there twice."""
    for start in range(0, len(points), PIECE):
        rows = slice(start, start + PIECE)
        for first in range(0, start + 1, PIECE):
            columns = slice(first, first + PIECE)
            values = _kernel(points[rows], points[columns]).numpy()
            if rows == columns:
                np.fill_diagonal(values, 0)
            yield rows, columns, 1 if rows == columns else 2, values


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    squares = torch.addmm(right.square().sum(1), left, right.T, alpha=-2).add_(left.square().sum(1)[:, None])
    return squares.clamp_(min=0).neg_().exp_()


def _check(real: Tensor, generated: Tensor) -> None:
    for name, embeddings in (("real", real), ("generated", generated)):
        if len(embeddings) < 2:
            raise ValueError(f"{name} set of {len(embeddings)} clips: a distance needs at least 2; sample more")
