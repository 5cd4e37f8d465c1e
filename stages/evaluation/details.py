"""Results one by one: attributes, sources, held-out pairs, and which source the judge hears in real clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stages.evaluation.scoring import ClipScores


def detail_rows(scores: Mapping[str, ClipScores]) -> list[dict[str, Any]]:
    """Shares and scores between 0 and 1 that stand behind the means, as `detail`, `system`, `value`.

    `attribute count`: of the clips that name a count, the share that obeys it. `source bell`: source accuracy over the
    captions with a bell. `held-out pairs clap_score`: means over the captions whose pair of sources is in the test
    split alone. What no clip tells is left out.
    """
    rows = []
    for system, one in scores.items():
        details: dict[str, Iterable[float]] = {
            f"attribute {name}": [obeyed[name] for obeyed in one.obeyed if name in obeyed]
            for name in sorted({name for obeyed in one.obeyed for name in obeyed})
        }
        accuracy = one.values.get("source_accuracy", [])
        for source in sorted({source for row in one.rows for source in row["sources"]}):
            pairs = zip(one.rows, accuracy, strict=bool(accuracy))
            details[f"source {source}"] = [value for row, value in pairs if source in row["sources"]]
        for metric, values in one.values.items():
            pairs = zip(one.rows, values, strict=True)
            details[f"held-out pairs {metric}"] = [value for row, value in pairs if row["held_out_pair"]]
        for name, numbers in details.items():
            known = [number for number in numbers if number == number]
            if known:
                rows.append({"detail": name, "system": system, "value": float(np.mean(known))})
    return rows


def confusion_rows(real: ClipScores, sources: Sequence[str]) -> list[dict[str, str]]:
    """One row a clip of a single source: `actual`, and `predicted`, which of `sources` has the highest logit.

    Clips that join two sources are left out; no rows where the corpus names no sources.
    """
    if real.heard.logits is None:
        return []
    heard = zip(real.rows, real.heard.logits.argmax(dim=1).tolist(), strict=True)
    rows = [
        {"actual": row["sources"][0], "predicted": sources[place]} for row, place in heard if len(row["sources"]) == 1
    ]
    return sorted(rows, key=lambda row: (row["actual"], row["predicted"]))
