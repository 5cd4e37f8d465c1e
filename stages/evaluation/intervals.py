"""95 % confidence intervals by the bootstrap over captions.

Takes of one caption resemble one another, so captions are drawn with replacement and bring all their takes along.
Equal captions and an equal seed give the same draws, so that two systems are compared on the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from stages.evaluation.distances import Array, Counted

BOUNDS = (2.5, 97.5)
FEWEST_CAPTIONS = 3  # of two captions, every other draw holds one alone


class Estimate(NamedTuple):
    """A value with its interval; `low` and `high` are None where there are fewer than `FEWEST_CAPTIONS`."""

    value: float
    low: float | None
    high: float | None


def bootstrap_mean(values: ArrayLike, groups: Sequence[str], draws: int, seed: int) -> Estimate:
    """Mean of `values` with its percentile interval.

    Args:
        values: `[N]`, one a clip, NaN where nothing is known of it; not all of them.
        groups: `[N]`, the clips' captions.
        draws: how many times captions are drawn.
        seed: of the draws.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    numbers = numbers[known]
    captions, codes = np.unique(np.asarray(groups, dtype=str)[known], return_inverse=True)
    mean = float(numbers.mean())
    if len(captions) < FEWEST_CAPTIONS:
        return Estimate(mean, None, None)
    counts = _draw_captions(len(captions), draws, seed)
    totals = counts @ np.bincount(codes, numbers, minlength=len(captions))
    low, high = np.percentile(totals / (counts @ np.bincount(codes, minlength=len(captions))), BOUNDS)
    return Estimate(mean, float(low), float(high))


def bootstrap_distance(distance: Counted, captions: int, draws: int, seed: int, lowest: float = -math.inf) -> Estimate:
    """A distance of a set that holds one clip a caption, with its interval.

    Drawn sets repeat clips and so lie further from the real one than the set itself. That surplus, the mean of the
    draws less the value, is taken off, so the interval lies around the value: it bounds what sets of this size score,
    not what endless sets would.

    Args:
        distance: maps counts of the captions `[draws, captions]` to values `[draws]`.
        captions: how many.
        draws: how many times captions are drawn.
        seed: of the draws.
        lowest: what no distance falls below.
    """
    value = max(lowest, float(distance(np.ones((1, captions)))[0]))
    if captions < FEWEST_CAPTIONS:
        return Estimate(value, None, None)
    drawn = distance(_draw_captions(captions, draws, seed))
    low, high = np.percentile(drawn - drawn.mean() + value, BOUNDS)
    return Estimate(value, max(lowest, float(low)), max(lowest, float(high)))


def _draw_captions(captions: int, draws: int, seed: int) -> Array:
    """How often each caption was drawn, `[draws, captions]`; each draw holds two different ones at least."""
    random = np.random.default_rng(seed)
    even = np.full(captions, 1 / captions)
    counts = random.multinomial(captions, even, size=draws)
    # A set of one caption alone has no spread, which distances divide by.
    while (poor := (counts > 0).sum(1) < 2).any():
        counts[poor] = random.multinomial(captions, even, size=int(poor.sum()))
    return counts.astype(np.float64)
