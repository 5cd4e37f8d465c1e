"""95 % confidence intervals by the bootstrap over captions.

Takes of one caption resemble one another, so captions are drawn with replacement and bring all their takes along.
Equal captions and an equal seed give the same draws, so that two systems are compared on the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from stages.evaluation.distances import Array, Statistic, frechet_by_caption, kernel_by_caption

Interval = tuple[float, float, float]
BOUNDS = (2.5, 97.5)


def bootstrap_mean(values: ArrayLike, groups: Sequence[str], draws: int, seed: int) -> Interval:
    """Mean of `values` with its percentile interval.

    Args:
        values: `[N]`, one a clip.
        groups: `[N]`, the clips' captions.
        draws: how many times captions are drawn.
        seed: of the draws.

    Returns:
        (mean, low, high).

    Raises:
        ValueError: fewer than two captions, unequal lengths, values that are not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (len(groups),):
        raise ValueError(f"{numbers.shape} values for {len(groups)} captions; give one value a clip")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{np.sum(~np.isfinite(numbers))} of {len(numbers)} values are not finite; leave them out")
    captions, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = _draw_captions(len(captions), draws, seed)
    totals = counts @ np.bincount(codes, numbers, minlength=len(captions))
    low, high = np.percentile(totals / (counts @ np.bincount(codes, minlength=len(captions))), BOUNDS)
    return float(numbers.mean()), float(low), float(high)


def paired_difference(
    values_a: ArrayLike, values_b: ArrayLike, groups: Sequence[str], draws: int, seed: int
) -> Interval:
    """Mean of a - b over the same clips of two systems, with its percentile interval: (difference, low, high).

    `values_a` and `values_b` `[N]` stand for the same captions and takes, named by `groups` `[N]`. Raises ValueError
    as `bootstrap_mean` does.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} values; a paired difference needs the same clips of both systems")
    return bootstrap_mean(a - b, groups, draws, seed)


def bootstrap_statistic(statistic: Statistic, captions: int, draws: int, seed: int) -> Interval:
    """Value of a statistic of whole sets with its interval: (value, low, high).

    Drawn sets repeat clips and so lie further from each other than the real ones do. That surplus, the mean of the
    draws less the value, is taken off, so the interval lies around the value: it bounds what sets of this size score,
    not what endless sets would.

    Args:
        statistic: maps counts of the captions `[draws, C]` to values `[draws]`.
        captions: C.
        draws: how many times captions are drawn.
        seed: of the draws.

    Raises:
        ValueError: fewer than three captions.
    """
    # A set of one caption alone has no spread, which distances divide by.
    counts = _draw_captions(captions, draws, seed, distinct=2)
    value = float(statistic(np.ones((1, captions)))[0])
    drawn = statistic(counts)
    low, high = np.percentile(drawn - drawn.mean() + value, BOUNDS)
    return value, float(low), float(high)


def frechet_interval(
    real: Tensor,
    generated: Tensor,
    real_captions: Sequence[str] | None,
    generated_captions: Sequence[str],
    draws: int,
    seed: int,
) -> Interval:
    """`frechet_audio_distance` of `[N, D]` and `[M, D]` with its interval, never below 0: (value, low, high).

    Captions are drawn for both sets at once, or for `generated` alone where `real_captions` is None.
    Raises ValueError as `frechet_by_caption` does.
    """
    statistic, captions = frechet_by_caption(real, generated, real_captions, generated_captions)
    value, low, high = bootstrap_statistic(statistic, captions, draws, seed)
    return max(0.0, value), max(0.0, low), max(0.0, high)


def kernel_interval(
    real: Tensor,
    generated: Tensor,
    real_captions: Sequence[str] | None,
    generated_captions: Sequence[str],
    draws: int,
    seed: int,
) -> Interval:
    """`kernel_audio_distance` of `[N, D]` and `[M, D]` with its interval: (value, low, high).

    Captions are drawn for both sets at once, or for `generated` alone where `real_captions` is None.
    Raises ValueError as `kernel_by_caption` does.
    """
    statistic, captions = kernel_by_caption(real, generated, real_captions, generated_captions)
    return bootstrap_statistic(statistic, captions, draws, seed)


def _draw_captions(captions: int, draws: int, seed: int, distinct: int = 1) -> Array:
    """How often each caption was drawn, `[draws, C]`; rows sum to C, with at least `distinct` captions in each."""
    if captions <= distinct:
        raise ValueError(f"captions: {captions}, where an interval needs at least {distinct + 1}; sample more captions")
    random = np.random.default_rng(seed)
    even = np.full(captions, 1 / captions)
    counts = random.multinomial(captions, even, size=draws)
    while (poor := (counts > 0).sum(1) < distinct).any():
        counts[poor] = random.multinomial(captions, even, size=int(poor.sum()))
    return counts.astype(np.float64)
