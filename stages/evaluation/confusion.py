"""Which source the judge hears in real clips: rows for a confusion matrix."""

from __future__ import annotations

import torch

from stages.evaluation.scorers import judge_mels
from stages.evaluation.scoring import Judges, SystemClips

BATCH = 64


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
