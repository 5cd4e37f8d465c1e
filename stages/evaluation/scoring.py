"""Every metric of a system's clips, each with a 95 % interval over captions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.corpus.clips import SEEN_ATTRIBUTES, Row, accepted_clips, read_waveforms
from stages.evaluation.adherence import adherence
from stages.evaluation.distances import frechet_audio_distance, frechet_counted, kernel_counted
from stages.evaluation.intervals import Estimate, bootstrap_distance, bootstrap_mean
from stages.formats.files import read_jsonl
from stages.judging.clap_scorer import ClapScorer, load_scorer
from stages.judging.networks import SourceClassifier, judge_mels, load_classifier, source_numbers, source_recall

BATCH = 64
CLASSIFIER, CLAP = "classifier", "clap"  # what embeds clips for the distances


@dataclass(frozen=True)
class Scorers:
    """What scores clips; `classifier` and `sources` are None and empty where a corpus names no sources."""

    clap: ClapScorer
    classifier: SourceClassifier | None
    sources: list[str]
    thresholds: Mapping[str, float]


def load_scorers(thresholds: Mapping[str, float]) -> Scorers:
    """The judges as `judges` left them, and what `calibrate` found on real clips."""
    classifier, sources = load_classifier() or (None, [])
    return Scorers(load_scorer(), classifier, sources, thresholds)


@dataclass(frozen=True)
class SystemClips:
    """A system's clips `[N, samples]` with their captions' rows and takes, row i belonging to clip i."""

    rows: list[Row]
    takes: list[int]
    waveforms: Tensor


@dataclass(frozen=True)
class Heard:
    """What the judges make of N clips.

    spaces: embeddings for the distances `[N, D]`, by `CLASSIFIER` (where a corpus names sources) and `CLAP`.
    audio: CLAP's embeddings of length 1 `[N, D]`.
    logits: the classifier's `[N, sources]`; None where a corpus names no sources.
    """

    spaces: dict[str, Tensor]
    audio: Tensor
    logits: Tensor | None

    @property
    def main(self) -> Tensor:
        """The embeddings of the headline distances."""
        return self.spaces.get(CLASSIFIER, self.spaces[CLAP])


@dataclass(frozen=True)
class ClipScores:
    """Per-clip values of a system; a value that a clip has no truth for is NaN.

    obeyed: for each clip, whether it obeys the attributes that its caption names.
    """

    rows: list[Row]
    takes: list[int]
    heard: Heard
    values: dict[str, list[float]]
    obeyed: list[dict[str, bool]]

    def by_take(self) -> list[list[int]]:
        """The clips of each take, which are one a caption, by their places."""
        numbers = sorted(set(self.takes))
        return [[index for index, one in enumerate(self.takes) if one == take] for take in numbers]


def read_systems(folders: Mapping[str, Path]) -> dict[str, SystemClips]:
    """Systems' clips by name from their `folders`; before them `real`, the corpus's own clips of the codec's rows."""
    import soundfile

    by_id = {row["id"]: row for row in accepted_clips("test")}
    systems = {}
    for name, folder in folders.items():
        written = sorted(read_jsonl(folder / "metadata.jsonl"), key=lambda row: (row["id"], row["take"]))
        waveforms = [torch.from_numpy(soundfile.read(folder / row["file_name"], dtype="float32")[0]) for row in written]
        rows = [by_id[row["id"]] for row in written]
        systems[name] = SystemClips(rows, [row["take"] for row in written], torch.stack(waveforms))
    rows = systems["codec"].rows
    return {"real": SystemClips(rows, [0] * len(rows), read_waveforms(rows)), **systems}


@torch.no_grad()
def hear(waveforms: Tensor, scorers: Scorers) -> Heard:
    """Let the judges hear waveforms `[N, samples]`. Raises ValueError where embeddings are not finite."""
    audio, hidden = [], []
    for part in waveforms.split(BATCH):
        audio.append(scorers.clap.embed_audio(part))
        if scorers.classifier is not None:
            hidden.append(scorers.classifier.embedding(judge_mels(part)))
    spaces = {CLAP: scorers.clap.for_distances(torch.cat(audio))}
    logits = None
    if scorers.classifier is not None:
        spaces[CLASSIFIER] = torch.cat(hidden)
        logits = scorers.classifier.logits(spaces[CLASSIFIER])
    _check(*spaces.values())
    return Heard(spaces, torch.cat(audio), logits)


def score_clips(system: SystemClips, scorers: Scorers) -> ClipScores:
    """Every clip's CLAP score, source accuracy and attribute adherence, the last two also as what is seen and heard.

    `seen` is the mean of the source and the seen attributes that are measured, `heard` of the other attributes; a
    corpus without attributes has neither. Raises ValueError where a judge's embeddings are not finite.
    """
    heard = hear(system.waveforms, scorers)
    text = scorers.clap.embed_texts([row["caption"] for row in system.rows])
    _check(text)
    values: dict[str, list[float]] = {"clap_score": (heard.audio * text).sum(dim=1).tolist()}
    accuracy = [math.nan] * len(system.rows)
    if heard.logits is not None:
        accuracy = source_recall(heard.logits, source_numbers(system.rows, scorers.sources))
        values["source_accuracy"] = accuracy
    obeyed = [
        adherence(row, waveform.double().numpy(), scorers.thresholds)
        for row, waveform in zip(system.rows, system.waveforms, strict=True)
    ]
    if any(obeyed):
        seen, others = ([_side(one, side) for one in obeyed] for side in (True, False))
        values["attribute_adherence"] = [known_mean(one.values()) for one in obeyed]
        values["seen"] = [known_mean([right, *one]) for right, one in zip(accuracy, seen, strict=True)]
        values["heard"] = [known_mean(one) for one in others]
    # Of sources that no training clip had nothing is known: where that is all, there is no such metric.
    told = {name: numbers for name, numbers in values.items() if not all(math.isnan(number) for number in numbers)}
    return ClipScores(system.rows, system.takes, heard, told, obeyed)


def _check(*embeddings: Tensor) -> None:
    if not all(one.isfinite().all() for one in embeddings):
        raise ValueError("a judge's embeddings hold values that are not finite; `dvc repro --force judges`")


def known_mean(values: Iterable[float]) -> float:
    """The mean of what is not NaN; NaN where nothing is known."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else math.nan


def _side(obeyed: Mapping[str, bool], seen: bool) -> list[bool]:
    return [value for name, value in obeyed.items() if (name in SEEN_ATTRIBUTES) == seen]


def summarize(scores: ClipScores, real: Tensor, draws: int, seed: int) -> tuple[dict[str, Estimate], list[str]]:
    """All metrics of a system, and why a distance is not among them (fewer than two clips, a judge that hears nothing).

    Distances compare one take a caption with the embeddings `real` `[M, D]` of the training split's clips and are
    averaged over takes, so that systems with one take and with three stand on equal numbers of clips.
    """
    summary: dict[str, Estimate] = {}
    missing = []
    takes = [scores.heard.main[take] for take in scores.by_take()]
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
        summary[name] = bootstrap_mean(values, [row["id"] for row in scores.rows], draws, seed)
    return summary, missing


def _mean_estimate(estimates: list[Estimate]) -> Estimate:
    value, low, high = (None if None in column else float(np.mean(column)) for column in zip(*estimates, strict=True))
    assert value is not None
    return Estimate(value, low, high)
