"""Every metric of a system's clips, each with a 95 % interval over captions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.corpus.clips import Row
from stages.evaluation.adherence import adherence
from stages.evaluation.distances import frechet_audio_distance, frechet_counted, kernel_counted
from stages.evaluation.intervals import Estimate, bootstrap_distance, bootstrap_mean
from stages.formats.files import read_jsonl
from stages.judging.clap_scorer import ClapScorer
from stages.judging.networks import SourceClassifier, judge_mels, source_numbers, source_recall

BATCH = 64


@dataclass(frozen=True)
class Scorers:
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
    obeyed: for each clip, whether it obeys the attributes that its caption names.
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
def score_clips(system: SystemClips, scorers: Scorers) -> ClipScores:
    """CLAP score, source accuracy and attribute adherence of every clip, and the judge's embeddings.

    Raises ValueError where a judge's embeddings are not finite.
    """
    values: dict[str, list[float]] = {"clap_score": []}
    parts: list[Tensor] = []
    for start in range(0, len(system.rows), BATCH):
        rows = system.rows[start : start + BATCH]
        waveforms = system.waveforms[start : start + BATCH]
        audio, text = scorers.clap.embed_audio(waveforms), scorers.clap.embed_texts([row["caption"] for row in rows])
        values["clap_score"] += (audio * text).sum(dim=1).tolist()
        if scorers.classifier is None:
            parts.append(scorers.clap.for_distances(audio))
            continue
        mels = judge_mels(waveforms)
        parts.append(scorers.classifier.embedding(mels))
        truth = source_numbers(rows, scorers.sources)
        values.setdefault("source_accuracy", []).extend(source_recall(scorers.classifier(mels), truth))
    embeddings = torch.cat(parts)
    if not (embeddings.isfinite().all() and np.isfinite(values["clap_score"]).all()):
        raise ValueError("a judge's embeddings hold values that are not finite; `dvc repro --force judges`")
    obeyed = [
        adherence(row, waveform.double().numpy(), scorers.thresholds)
        for row, waveform in zip(system.rows, system.waveforms, strict=True)
    ]
    if any(obeyed):
        values["attribute_adherence"] = [float(np.mean(list(one.values()))) if one else float("nan") for one in obeyed]
    # Of sources that no training clip had nothing is known: where that is all, there is no such metric.
    told = {name: numbers for name, numbers in values.items() if not all(math.isnan(number) for number in numbers)}
    return ClipScores(system.rows, system.takes, embeddings, told, obeyed)


def summarize(scores: ClipScores, real: Tensor, draws: int, seed: int) -> tuple[dict[str, Estimate], list[str]]:
    """All metrics of a system, and why a distance is not among them (fewer than two clips, a judge that hears nothing).

    Distances compare one take a caption with the embeddings `real` `[M, D]` of the training split's clips and are
    averaged over takes, so that systems with one take and with three stand on equal numbers of clips.
    """
    summary: dict[str, Estimate] = {}
    missing = []
    takes = [
        scores.embeddings[[index for index, one in enumerate(scores.takes) if one == take]]
        for take in sorted(set(scores.takes))
    ]
    for name, counted, lowest in (("fad", frechet_counted, 0.0), ("kad", kernel_counted, -math.inf)):
        try:
            estimates = [
                bootstrap_distance(counted(real, clips), len(clips), draws, seed, lowest=lowest) for clips in takes
            ]
        except ValueError as error:
            missing.append(f"no {name}: {error}")
            continue
        if name == "fad":
            estimates = [
                Estimate(frechet_audio_distance(real, clips), *interval)
                for clips, (_, *interval) in zip(takes, estimates, strict=True)
            ]
        summary[name] = _mean_estimate(estimates)
    for name, values in scores.values.items():
        known = [index for index, value in enumerate(values) if value == value]
        groups = [scores.rows[index]["id"] for index in known]
        summary[name] = bootstrap_mean([values[index] for index in known], groups, draws, seed)
    return summary, missing


def _mean_estimate(estimates: list[Estimate]) -> Estimate:
    value, low, high = (None if None in column else float(np.mean(column)) for column in zip(*estimates, strict=True))
    assert value is not None
    return Estimate(value, low, high)
