"""The verdict on A against B: paired differences, losses at equal updates and equal compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.evaluation.intervals import paired_difference
from stages.evaluation.scoring import ClipScores

Curve = Sequence[Mapping[str, float]]
LOSS = "validation_diffusion_loss"


def compare(scores: Mapping[str, ClipScores], curves: Mapping[str, Curve], conclusive: bool | None, **draw: int) -> Any:
    """What `metrics/comparison.json` holds: one flat object, an interval as `..._low` and `..._high`.

    Args:
        scores: per-clip scores by system; `experiment_a` and `experiment_b` stand on the same captions and takes.
        curves: `experiment_a` and `experiment_b`: rows with `updates`, `teraflops` and `validation_diffusion_loss`.
        conclusive: of metrics/encoders.json; None where the corpus has no heard attributes to probe.
        draw: `draws` and `seed` of the bootstrap.
    """
    first, second = scores["experiment_a"], scores["experiment_b"]
    result: dict[str, Any] = {"conclusive": "not measured" if conclusive is None else conclusive}
    for metric in second.values:
        pairs = [
            (a, b, row["id"])
            for a, b, row in zip(first.values[metric], second.values[metric], first.rows, strict=True)
            if a == a and b == b
        ]
        difference, low, high = paired_difference(
            [b for _, b, _ in pairs], [a for a, _, _ in pairs], [name for _, _, name in pairs], **draw
        )
        result[f"b_minus_a_{metric}"] = round(difference, 4)
        result[f"b_minus_a_{metric}_low"] = round(low, 4)
        result[f"b_minus_a_{metric}_high"] = round(high, 4)
    for axis in ("updates", "teraflops"):
        shared = min(curve[-1][axis] for curve in curves.values())
        result[f"equal_{axis}"] = round(shared, 4)
        for system, curve in curves.items():
            result[f"{LOSS}_{system}_at_equal_{axis}"] = round(loss_at(curve, axis, shared), 4)
    return result


def loss_at(curve: Curve, axis: str, position: float) -> float:
    """The curve's validation loss at `position` of `axis`, linear between epochs; before the first, the first's."""
    previous = curve[0]
    for row in curve:
        if row[axis] >= position:
            if row[axis] == previous[axis]:
                return row[LOSS]
            share = (position - previous[axis]) / (row[axis] - previous[axis])
            return previous[LOSS] + max(0.0, share) * (row[LOSS] - previous[LOSS])
        previous = row
    return curve[-1][LOSS]
