"""Results one by one: attributes, sources, held-out pairs, and which source the judge hears in real clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from stages.evaluation.scoring import ClipScores, Judges, SystemClips, adherence_by_attribute, mean_over
from stages.judging.networks import judge_mels

BATCH = 64


def detail_rows(scores: Mapping[str, ClipScores]) -> list[dict[str, Any]]:
    """Shares and scores between 0 and 1 that stand behind the means, as `detail`, `system`, `value`.

    `attribute count`: of the clips that name a count, the share that obeys it. `source bell`: source accuracy over the
    captions with a bell. `held-out pairs clap_score`: means over the captions whose pair of sources is in the test
    split alone.
    """
    rows = []
    for system, one in scores.items():
        details: dict[str, float | None] = {}
        for name, value in adherence_by_attribute(one).items():
            details[f"attribute {name}"] = value
        for source in sorted({source for row in one.rows for source in row["sources"]}):
            with_it = [source in row["sources"] for row in one.rows]
            details[f"source {source}"] = mean_over(one, "source_accuracy", with_it)
        held_out = [bool(row["held_out_pair"]) for row in one.rows]
        for metric in one.values:
            details[f"held-out pairs {metric}"] = mean_over(one, metric, held_out)
        known = {name: value for name, value in details.items() if value is not None}
        rows += [{"detail": name, "system": system, "value": value} for name, value in known.items()]
    return rows


@torch.no_grad()
def confusion_rows(clips: SystemClips, judges: Judges) -> list[dict[str, str]]:
    """One row a clip of a single source: `actual`, and `predicted`, the source of the judge's highest logit.

    Clips that join two sources are left out; no rows where the corpus names no sources.
    """
    if judges.classifier is None:
        return []
    single = [place for place, row in enumerate(clips.rows) if len(row["sources"]) == 1]
    rows = []
    for start in range(0, len(single), BATCH):
        places = single[start : start + BATCH]
        heard = judges.classifier(judge_mels(clips.waveforms[places])).argmax(dim=1).tolist()
        rows += [
            {"actual": clips.rows[place]["sources"][0], "predicted": judges.sources[source]}
            for place, source in zip(places, heard, strict=True)
        ]
    return sorted(rows, key=lambda row: (row["actual"], row["predicted"]))
