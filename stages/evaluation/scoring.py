"""Every metric of a system's clips, each with a 95 % interval over captions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.corpus.clips import Row
from stages.evaluation.adherence import adherence
from stages.evaluation.distances import frechet_audio_distance, kernel_audio_distance
from stages.evaluation.intervals import Interval, bootstrap_mean, frechet_interval, kernel_interval
from stages.formats.files import read_jsonl
from stages.judging.clap_scorer import ClapScorer
from stages.judging.networks import SourceClassifier, judge_mels, source_numbers, source_recall

BATCH = 64


@dataclass(frozen=True)
class Judges:
    """What scores clips; `classifier` and `sources` are None and empty where a corpus names no sources."""

    clap: ClapScorer
    classifier: SourceClassifier | None
    sources: list[str]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class SystemClips:
    """A system's clips `[N, samples]` with their captions' rows and takes, row i belonging to clip i."""

    rows: list[Row]
    takes: list[int]
    waveforms: Tensor


@dataclass(frozen=True)
class ClipScores:
    """Per-clip values of a system; a value that a clip has no truth for is NaN.

    embeddings: of the judge `[N, D]`, for the distances.
    """

    rows: list[Row]
    takes: list[int]
    embeddings: Tensor
    values: dict[str, list[float]]
    obeyed: list[dict[str, bool]]


def read_system(folder: Path, by_id: Mapping[str, Row]) -> SystemClips:
    """Read `data/samples/<group>/<system>/`."""
    import soundfile

    written = sorted(read_jsonl(folder / "metadata.jsonl"), key=lambda row: (row["id"], row["take"]))
    waveforms = [torch.from_numpy(soundfile.read(folder / row["file_name"], dtype="float32")[0]) for row in written]
    return SystemClips([by_id[row["id"]] for row in written], [row["take"] for row in written], torch.stack(waveforms))


@torch.no_grad()
def score_clips(system: SystemClips, judges: Judges) -> ClipScores:
    """CLAP score, source accuracy and attribute adherence of every clip, and the judge's embeddings."""
    values: dict[str, list[float]] = {"clap_score": []}
    embeddings: list[Tensor] = []
    for start in range(0, len(system.rows), BATCH):
        rows = system.rows[start : start + BATCH]
        waveforms = system.waveforms[start : start + BATCH]
        audio, text = judges.clap.embed_audio(waveforms), judges.clap.embed_texts([row["caption"] for row in rows])
        values["clap_score"] += (audio * text).sum(dim=1).tolist()
        if judges.classifier is None:
            embeddings.append(judges.clap.for_distances(audio))
            continue
        mels = judge_mels(waveforms)
        embeddings.append(judges.classifier.embedding(mels))
        truth = source_numbers(rows, judges.sources)
        values.setdefault("source_accuracy", []).extend(source_recall(judges.classifier(mels), truth))
    obeyed = [
        adherence(row, waveform.double().numpy(), judges.thresholds)
        for row, waveform in zip(system.rows, system.waveforms, strict=True)
    ]
    if any(obeyed):
        values["attribute_adherence"] = [float(np.mean(list(one.values()))) if one else float("nan") for one in obeyed]
    # Of sources that no training clip had nothing is known: where that is all, there is no such metric.
    told = {name: numbers for name, numbers in values.items() if not all(math.isnan(number) for number in numbers)}
    return ClipScores(system.rows, system.takes, torch.cat(embeddings), told, obeyed)


def summarize(scores: ClipScores, real: Tensor, draws: int, seed: int) -> dict[str, Interval]:
    """All metrics of a system as (value, low, high).

    Distances compare one take a caption with the embeddings `real` `[M, D]` of the training split's clips and are
    averaged over takes, so that systems with one take and with three stand on equal numbers of clips.
    """
    distances: dict[str, list[Interval]] = {"fad": [], "kad": []}
    for take in sorted(set(scores.takes)):
        places = [place for place, one in enumerate(scores.takes) if one == take]
        embeddings, captions = scores.embeddings[places], [scores.rows[place]["id"] for place in places]
        _, low, high = frechet_interval(real, embeddings, None, captions, draws, seed)
        distances["fad"].append((frechet_audio_distance(real, embeddings), low, high))
        _, low, high = kernel_interval(real, embeddings, None, captions, draws, seed)
        distances["kad"].append((kernel_audio_distance(real, embeddings), low, high))
    means = {name: np.mean(np.array(intervals), axis=0) for name, intervals in distances.items()}
    summary: dict[str, Interval] = {name: (float(m[0]), float(m[1]), float(m[2])) for name, m in means.items()}
    for name, values in scores.values.items():
        known = [place for place, value in enumerate(values) if value == value]
        groups = [scores.rows[place]["id"] for place in known]
        summary[name] = bootstrap_mean([values[place] for place in known], groups, draws, seed)
    return summary


def adherence_by_attribute(scores: ClipScores) -> dict[str, float]:
    """Share of clips that obey each attribute, over the clips that name it."""
    names = sorted({name for one in scores.obeyed for name in one})
    return {name: float(np.mean([one[name] for one in scores.obeyed if name in one])) for name in names}


def mean_over(scores: ClipScores, metric: str, rows: Sequence[bool]) -> float | None:
    """Mean of a per-clip metric over the chosen clips; None without any."""
    chosen = [
        value for value, take_it in zip(scores.values.get(metric, []), rows, strict=False) if take_it and value == value
    ]
    return float(np.mean(chosen)) if chosen else None
