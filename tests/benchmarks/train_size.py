"""What the number of pairs is worth to A and B, and whether averaging wins on little data: trained and scored as arms.

Command: `python -m tests.benchmarks.train_size FOLDER [SEED ...]`, FOLDER holding a finished run and its study's
references (`bind-an-audio study`); prints the table of docs/pipeline.md, a row for each experiment, fusion and number
of pairs, means over seeds. Each row has as many updates as the run's own training on `train`, but for those that say
how much longer. More pairs than `train` has are of the split `foundation`, for B alone, which reads captions and images
and no clip; the towers learnt from them, which flatters it. One to three minutes a training on a core.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from stages.corpus.clips import iterate_accepted_clips, spread
from stages.embed import BATCH, embedder
from stages.embedding.embeddings import EMPTY, Embeddings, load_embeddings
from stages.evaluation.scoring import Scorers, known_mean, load_scorers
from stages.formats.files import read_json
from stages.params.schema import load_params
from stages.plumbing.cluster import in_batches
from stages.study.arms import REFERENCES, Arm, arm_params
from stages.study.trial import caption_scores, sample_arm, train_arm

METRICS = {"source_accuracy": "source accuracy", "attribute_adherence": "attributes", "clap_score": "CLAP score"}
FEWER, MORE = (80, 240), -1
# Experiment, fusion, pairs (0: those of `train`, -1: those of `foundation`, too), how many times the updates.
TRIALS = [
    *((experiment, "mean", pairs, 1) for experiment in ("a", "b") for pairs in (*FEWER, 0)),
    *((experiment, fusion, FEWER[0], 1) for experiment in ("a", "b") for fusion in ("weighted", "attention")),
    ("b", "mean", MORE, 1),
    ("b", "mean", MORE, 4),
]


def main(folder: str, *seeds: str) -> None:
    """Train, sample, score and print."""
    os.chdir(folder)
    train = load_embeddings("train")
    more = together(train, foundation_pairs(train.empty_tokens))
    scorers = load_scorers(read_json(REFERENCES)["thresholds"])
    print("| experiment | fusion | pairs | updates | validation loss |", " | ".join(METRICS.values()), "|")
    print("| --- " * (5 + len(METRICS)) + "|", flush=True)
    for experiment, fusion, pairs, times in TRIALS:
        data = (
            more if pairs == MORE else train.rows(torch.tensor(spread(range(len(train.ids)), pairs or len(train.ids))))
        )
        longer = times * len(train.ids) / len(data.ids)
        found = [trial(experiment, fusion, data, longer, int(seed), scorers) for seed in seeds or ("1",)]
        updates, *means = (sum(values) / len(values) for values in zip(*found, strict=True))
        cells = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| {experiment.upper()} | {fusion} | {len(data.ids)} | {updates:.0f} | {cells} |", flush=True)


def trial(experiment: str, fusion: str, data: Embeddings, times: float, seed: int, scorers: Scorers) -> list[float]:
    """Updates, the best validation loss, and the test captions' mean of each metric; `times` as many epochs."""
    lengths = {"a": ("stage_1.epochs", "stage_2.epochs"), "b": ("epochs",)}[experiment]
    section: Any = load_params().model_dump()[f"train_{experiment}"]
    changes: dict[str, Any] = {f"train_{experiment}.fusion": fusion}
    for name in lengths:
        stage, _, _ = name.rpartition(".")
        changes[f"train_{experiment}.{name}"] = round(times * (section[stage] if stage else section)["epochs"])
    arm = Arm.model_validate({"experiment": experiment, "changes": changes})
    params = arm_params(arm, seed)
    with TemporaryDirectory() as work:
        contexts, denoiser, trained = train_arm(arm, params, data, load_embeddings("valid"), Path(work))
    scores: dict[str, Any] = caption_scores(sample_arm(contexts, denoiser, load_embeddings("test"), params, scorers))
    training = trained["training"]
    loss = training["best_validation_loss" if experiment == "b" else "best_validation_diffusion_loss"]
    return [training["updates"], loss, *(known_mean(told(scores[key])) for key in METRICS)]


def told(values: list[float | None]) -> list[float]:
    """A metric of each caption, NaN where the caption tells nothing."""
    return [math.nan if value is None else value for value in values]


def foundation_pairs(empty_tokens: torch.Tensor) -> Embeddings:
    """The accepted pairs of the split `foundation`, embedded as stage `embed` does."""
    embed, rows = embedder(load_params().embed.text), list(iterate_accepted_clips("foundation"))
    parts = [embed(batch) for batch in in_batches(rows, BATCH)]
    names = [field.name for field in fields(Embeddings) if field.name not in ("ids", EMPTY)]
    tensors = {name: torch.cat([part[name] for part in parts]) for name in names}
    return Embeddings([row["id"] for row in rows], **tensors, empty_tokens=empty_tokens)


def together(first: Embeddings, second: Embeddings) -> Embeddings:
    """The rows of both."""
    tensors = {name: torch.cat([one, second.tensors()[name]]) for name, one in first.tensors().items() if name != EMPTY}
    return Embeddings(first.ids + second.ids, **tensors, empty_tokens=first.empty_tokens)


if __name__ == "__main__":
    main(*sys.argv[1:])
