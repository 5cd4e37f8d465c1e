"""How a training went, in numbers: what the words "rapid", "stable" and "large gap" are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NEAR = 0.05
EPOCHS = 5  # the first and the last so many
SPIKE = 3.0


def convergence(curve: Sequence[Mapping[str, Any]], loss: str) -> dict[str, float]:
    """Four numbers about a curve of `training.loop`, one row an epoch; `loss` is a validation column.

    epochs_to_5_percent: after which epoch the loss stays within 5 % of its last value.
    variation_first, variation_last: standard deviation over mean of the loss, over the first and last five epochs.
    gradient_spikes: share of the epochs in which a gradient was over three times as long as the median epoch's longest.
    """
    losses = np.array([row[loss] for row in curve], dtype=np.float64)
    longest = np.array([row["highest_gradient_norm"] for row in curve], dtype=np.float64)
    far = np.flatnonzero(np.abs(losses - losses[-1]) > NEAR * abs(losses[-1]))
    numbers = {
        "epochs_to_5_percent": int(far[-1]) + 2 if len(far) else 1,
        "variation_first": float(losses[:EPOCHS].std() / losses[:EPOCHS].mean()),
        "variation_last": float(losses[-EPOCHS:].std() / losses[-EPOCHS:].mean()),
        "gradient_spikes": float((longest > SPIKE * np.median(longest)).mean()),
    }
    return {name: round(value, 4) for name, value in numbers.items()}
