"""Figures of the study with intervals over captions and training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.evaluation.intervals import BOUNDS, Estimate
from stages.study.arms import OWN

Array = NDArray[np.float64]
Results = Mapping[str, Mapping[int, Mapping[str, Any]]]  # arm -> seed -> what study_arm wrote
DRAWS = 2000


class Study:
    """All results: `values` are by seed and caption `[S, C]`; what tells nothing of a caption is NaN.

    Every figure of one study is of the same draws, so that arms are compared on the same captions and seeds.
    """

    def __init__(self, results: Results, references: Mapping[str, Any], draws: int = DRAWS) -> None:
        self.results, self.references = results, references
        captions = len(next(iter(references["clips"].values()))["ids"])
        random = np.random.default_rng(1)
        self.captions = random.multinomial(captions, np.full(captions, 1 / captions), size=draws).astype(float)
        self.places = random.random((draws, 64))  # of the seeds that a draw takes, as shares of how many there are

    def seeds(self, *arms: str, clips: str = OWN) -> list[int]:
        """The seeds that all of `arms` have been run with, and made such clips with."""
        run = ({seed for seed, one in self.results.get(arm, {}).items() if clips in one["clips"]} for arm in arms)
        return sorted(set.intersection(*run))

    def values(self, arm: str, metric: str, seeds: Sequence[int], clips: str = OWN) -> Array:
        """`[S, C]`; of a reference, the same for every seed."""
        scored = self.references["clips"].get(arm)
        each = [scored or self.results[arm][seed]["clips"][clips] for seed in seeds]
        # A corpus without labels or attributes has no such metric.
        return np.array([one.get(metric) or [None] * len(one["ids"]) for one in each], dtype=np.float64)

    def drawn(self, values: Array) -> Array:
        """Means `[draws]` over drawn captions and drawn seeds.

        Captions are drawn anew, as in `evaluation.intervals`. So are seeds, whose few means are moved from their own
        mean by sqrt(S / (S - 1)), since a bootstrap of S numbers spreads too little by that, and by Student's quantile
        over the normal one, since so few numbers say little of how far seeds spread.
        """
        from scipy.stats import norm, t

        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        pairs = zip(filled, known, strict=True)
        per_seed = np.stack([(self.captions @ row) / (self.captions @ there) for row, there in pairs])
        means = np.nanmean(values, axis=1)
        count = len(means)
        if count == 1:
            return np.asarray(per_seed[0])
        chosen = (self.places[:, :count] * count).astype(int)
        wider = np.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1) / norm.ppf(0.975)
        moved = (means[chosen].mean(axis=1) - means.mean()) * wider
        return np.asarray(per_seed.mean(axis=0) + moved)

    def mean(self, arm: str, metric: str, clips: str = OWN) -> Estimate | None:
        """An arm's mean; None where the corpus tells nothing of `metric`."""
        seeds = self.seeds(arm) if arm in self.results else [0]
        return self._estimate(self.values(arm, metric, seeds, clips))

    def difference(
        self, first: str, second: str, metric: str, clips: str = OWN, other_clips: str = OWN
    ) -> Estimate | None:
        """Mean of first - second over equal captions and seeds; None where they have no seed in common."""
        sides = ((first, clips), (second, other_clips))
        run = [set(self.seeds(arm, clips=kind)) for arm, kind in sides if arm not in self.references["clips"]]
        if not (seeds := sorted(set.intersection(*run))):
            return None
        return self._estimate(
            self.values(first, metric, seeds, clips) - self.values(second, metric, seeds, other_clips)
        )

    def closed(self, arm: str, metric: str) -> Estimate | None:
        """Which share of the way from the floor to the reference an arm comes; None where it was not run."""
        if not (seeds := self.seeds(arm)):
            return None
        own, floor, reference = (self.values(name, metric, seeds) for name in (arm, "floor", "reference"))
        if np.isnan(own).all():
            return None
        value = (np.nanmean(own) - np.nanmean(floor)) / (np.nanmean(reference) - np.nanmean(floor))
        ways = self.drawn(reference - floor)
        shares = self.drawn(own - floor)[ways > 0] / ways[ways > 0]
        low, high = np.percentile(shares, BOUNDS)
        return Estimate(float(value), float(low), float(high))

    def training(self, arm: str, metric: str) -> Estimate | None:
        """Mean of a training metric over seeds, with Student's interval; without one for a single seed."""
        runs = (one["training"] for one in self.results.get(arm, {}).values())
        return over_seeds([one[metric] for one in runs if metric in one])

    def training_difference(self, first: str, second: str, metric: str) -> Estimate | None:
        """The same for first - second, seed by seed."""
        seeds = self.seeds(first, second)
        pairs = [[self.results[arm][seed]["training"] for arm in (first, second)] for seed in seeds]
        return over_seeds([one[metric] - other[metric] for one, other in pairs if metric in one and metric in other])

    def _estimate(self, values: Array) -> Estimate | None:
        if np.isnan(values).all():
            return None
        low, high = np.percentile(self.drawn(values), BOUNDS)
        # The mean over captions of each seed first, as a caption that tells nothing may differ between seeds.
        return Estimate(float(np.nanmean(values, axis=1).mean()), float(low), float(high))


def over_seeds(values: Sequence[float]) -> Estimate | None:
    """Mean with Student's 95 % interval; None of no values."""
    from scipy.stats import t

    if not values:
        return None
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, None, None)
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - half, mean + half)
