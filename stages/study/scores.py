"""Scores by caption, which is what the study compares arms by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.corpus.clips import SEEN_ATTRIBUTES
from stages.evaluation.scoring import ClipScores

RESULTS = Path("studies/results")
REFERENCES = RESULTS / "references.json"
OWN = "own"  # clips of the captions themselves, not of swapped ones


def caption_scores(scores: ClipScores) -> dict[str, Any]:
    """Each caption's mean over its takes: `ids`, and by metric a list in their order, None where it tells nothing.

    Beside the metrics of `score_clips`: `seen` (source and size), `heard` (the other attributes that are measured) and
    `fit`, the mean of source accuracy and attribute adherence, which the verdicts are of.
    """
    values = {name: list(numbers) for name, numbers in scores.values.items()}
    accuracy = values.get("source_accuracy", [math.nan] * len(scores.rows))
    adherence = values.get("attribute_adherence", [math.nan] * len(scores.rows))
    parts = [_by_side(obeyed) for obeyed in scores.obeyed]
    values["seen"] = [_mean([right, *seen]) for right, (seen, _) in zip(accuracy, parts, strict=True)]
    values["heard"] = [_mean(heard) for _, heard in parts]
    values["fit"] = [_mean(pair) for pair in zip(accuracy, adherence, strict=True)]
    ids = sorted({row["id"] for row in scores.rows})
    of_id = {item: [index for index, row in enumerate(scores.rows) if row["id"] == item] for item in ids}
    means = {
        name: [_mean([numbers[index] for index in of_id[item]]) for item in ids] for name, numbers in values.items()
    }
    return {
        "ids": ids,
        **{name: [None if one != one else round(one, 4) for one in numbers] for name, numbers in means.items()},
    }


def _by_side(obeyed: Mapping[str, bool]) -> tuple[list[float], list[float]]:
    seen = [float(value) for name, value in obeyed.items() if name in SEEN_ATTRIBUTES]
    return seen, [float(value) for name, value in obeyed.items() if name not in SEEN_ATTRIBUTES]


def _mean(values: Any) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else math.nan
