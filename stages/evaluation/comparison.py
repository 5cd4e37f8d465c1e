"""The verdict on A against B: paired differences, losses at equal updates and equal compute, held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.evaluation.intervals import paired_difference
from stages.evaluation.scoring import ClipScores, mean_over

Curve = Sequence[Mapping[str, float]]
LOSS = "validation_diffusion_loss"


def compare(scores: Mapping[str, ClipScores], curves: Mapping[str, Curve], conclusive: bool | None, **draw: int) -> Any:
    """What `metrics/comparison.json` holds.

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
        result[f"b_minus_a_{metric}"] = {"value": round(difference, 4), "low": round(low, 4), "high": round(high, 4)}
    for axis in ("updates", "teraflops"):
        shared = min(curve[-1][axis] for curve in curves.values())
        losses = {system: round(loss_at(curve, axis, shared), 4) for system, curve in curves.items()}
        result[f"{LOSS}_at_equal_{axis}"] = {axis: round(shared, 4), **losses}
    held_out: dict[str, Any] = {}
    for system, one in scores.items():
        chosen = [bool(row["held_out_pair"]) for row in one.rows]
        known = {metric: mean_over(one, metric, chosen) for metric in one.values}
        if any(value is not None for value in known.values()):
            held_out[system] = {metric: round(value, 4) for metric, value in known.items() if value is not None}
    if held_out:
        result["held_out_pairs"] = held_out
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
