"""A against B: paired differences, losses at equal updates and equal compute, and whether the run can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.evaluation.intervals import Estimate, bootstrap_mean
from stages.evaluation.scoring import ClipScores
from stages.evaluation.systems import METRICS, SYSTEMS
from stages.formats.audio import SAMPLE_RATE
from stages.params.schema import Params

LOSS = "validation_diffusion_loss"
TOWER_SHARE = 0.8  # of what CLAP tells of the attributes, which is what steers the reference
FEWEST_CAPTIONS = 20  # with fewer, the interval of a share is wider than +-0.2
ONE_SEED = (
    "One training of each network: intervals are over captions alone, and with other seeds A and B may stand otherwise "
    "(`bind-an-audio seeds` compares whole runs, docs/study.md trainings of A and B)."
)


def compare(
    scores: Mapping[str, ClipScores], curves: Mapping[str, Sequence[Mapping[str, float]]], **draw: int
) -> dict[str, Any]:
    """The figures of `metrics/comparison.json`: flat, an interval as `..._low` and `..._high`, None without one.

    Args:
        scores: per-clip scores by system; `experiment_a` and `experiment_b` stand on the same captions and takes.
        curves: `experiment_a` and `experiment_b`: rows with `updates`, `teraflops` and `validation_diffusion_loss`.
        draw: `draws` and `seed` of the bootstrap.
    """
    first, second = scores["experiment_a"], scores["experiment_b"]
    result: dict[str, Any] = {}
    for metric in second.values:
        gaps = np.subtract(second.values[metric], first.values[metric])
        difference = bootstrap_mean(gaps, [row["id"] for row in first.rows], **draw)
        for name, value in zip(("", "_low", "_high"), difference, strict=True):
            result[f"b_minus_a_{metric}{name}"] = None if value is None else round(value, 4)
    for axis in ("updates", "teraflops"):
        shared = min(curve[-1][axis] for curve in curves.values())
        result[f"equal_{axis}"] = round(shared, 4)
        for system, curve in curves.items():
            # Linear between epochs; before the first, the first's.
            loss = np.interp(shared, [row[axis] for row in curve], [row[LOSS] for row in curve])
            result[f"{LOSS}_{system}_at_equal_{axis}"] = round(float(loss), 4)
    return result


def measured(comparison: Mapping[str, Any], params: Params) -> str:
    """What the table of results stands on, by the numbers of `metrics/comparison.json` and the params."""
    sample = params.sample
    unguided = sample.clips_per_caption_unguided
    above = f" above timestep {sample.guidance_from_timestep}" if sample.guidance_from_timestep else ""
    return (
        f"{comparison['captions']} test captions, {comparison['takes']} takes each ({unguided} "
        f"without guidance, 1 of the codec); {params.prepare.clip_seconds:g} s at {SAMPLE_RATE / 1000:g} kHz; "
        f"{sample.steps} steps of {sample.sampler}, guidance {sample.guidance_scale:g}{above}. FAD and KAD are to "
        f"{comparison['training_clips']} real training clips, on the judge's embeddings of "
        f"{comparison['embedding_dimensions']} dimensions. Training seeds: A "
        f"{params.train_a.seed}, B {params.train_b.seed}."
    )


def doubts(summaries: Mapping[str, Mapping[str, Estimate]], towers: Mapping[str, float], captions: int) -> list[str]:
    """Why nothing about A against B follows from a run, one sentence a reason; none for a conclusive run.

    A run tells when it has captions enough, when the towers carry what is seen and heard to A and B, and when every
    headline metric tells real clips and the reference's from clips of no caption, their intervals apart.

    Args:
        summaries: metrics by system.
        towers: metrics/encoders.json; a corpus without attributes and published towers have no probes there.
        captions: how many test captions were sampled.
    """
    reasons = []
    if captions < FEWEST_CAPTIONS:
        reasons.append(
            f"too small: {captions} test captions, where {FEWEST_CAPTIONS} are the fewest that tell anything; raise "
            "sample.captions, prepare.clips or prepare.test_share"
        )
    made = [one for system, one in summaries.items() if system != "real" and "source_accuracy" in one]
    if made and all(one["source_accuracy"].value == 0 for one in made):
        reasons.append("too small: no generated clip is heard as its source (source accuracy is 0 for every system)")
    for side, own, what in (("heard", "text_part", "text part"), ("seen", "image", "image")):
        if f"{side}_probe_ratio" not in towers:
            continue
        share, chance = towers[f"{side}_probe_ratio"], towers[f"{side}_probe_majority_answer"]
        if share < TOWER_SHARE:
            reasons.append(
                f"ImageBind's embedding of the {what} tells {share:.0%} of the {side} attributes that CLAP's text "
                f"features tell; below {TOWER_SHARE:.0%} A and B fail for no reason of their own"
            )
        elif towers[f"{side}_probe_{own}"] <= chance:
            reasons.append(f"ImageBind's embedding of the {what} tells {side} attributes no better than guessing")
    for key, metric in METRICS.items():
        floor = summaries["floor"].get(key)
        for system in ("real", "reference"):
            one = summaries[system].get(key)
            if metric.headline and one and floor and not _is_above(one, floor, metric.better):
                reasons.append(
                    f"{metric.name}: {SYSTEMS[system].name} at {_shown(one)} is not clear of {SYSTEMS['floor'].name} "
                    f"at {_shown(floor)}"
                )
                break
    return reasons


def _is_above(one: Estimate, other: Estimate, better: str) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low > other.high if better == "higher" else one.high < other.low


def _shown(one: Estimate) -> str:
    interval = "no interval" if one.low is None else f"{one.low:.2f} to {one.high:.2f}"
    return f"{one.value:.2f} ({interval})"
