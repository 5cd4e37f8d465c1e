"""What pairs without audio are worth to B: trained on those of the split `foundation` as well, and scored as an arm.

Command: `python -m tests.benchmarks.more_pairs FOLDER [SEED ...]`, FOLDER holding a finished run and its study's
references (`bind-an-audio study`); prints the table of docs/pipeline.md, a row for each number of epochs, means over
seeds. B reads captions and images alone, so the clips of these pairs play no part; the towers learnt from them, which
flatters it. Two minutes a training on a core.
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

from stages.corpus.clips import iterate_accepted_clips
from stages.embed import BATCH, embedder
from stages.embedding.embeddings import EMPTY, Embeddings, load_embeddings
from stages.evaluation.scoring import Scorers, known_mean, load_scorers
from stages.formats.files import read_json
from stages.params.schema import Params, load_params
from stages.plumbing.cluster import in_batches
from stages.study.arms import REFERENCES, Arm, arm_params
from stages.study.trial import caption_scores, sample_arm, train_arm

B = Arm(experiment="b")
METRICS = {"source_accuracy": "source accuracy", "attribute_adherence": "attributes", "clap_score": "CLAP score"}
EPOCHS = (6, 24)  # of five times as many pairs: as many updates as 30 epochs of `train`, and four times as many


def main(folder: str, *seeds: str) -> None:
    """Train, sample, score and print."""
    os.chdir(folder)
    train = load_embeddings("train")
    more = together(train, foundation_pairs(train.empty_tokens))
    scorers = load_scorers(read_json(REFERENCES)["thresholds"])
    print(f"| pairs | epochs | validation loss | {' | '.join(METRICS.values())} |\n{'| --- ' * (3 + len(METRICS))}|")
    for data, epochs in ((train, load_params().train_b.epochs), *((more, number) for number in EPOCHS)):
        found = [trained_and_scored(data, epochs, arm_params(B, int(seed)), scorers) for seed in seeds or ("1",)]
        means = [sum(values) / len(values) for values in zip(*found, strict=True)]
        print(f"| {len(data.ids)} | {epochs} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)


def trained_and_scored(data: Embeddings, epochs: int, params: Params, scorers: Scorers) -> list[float]:
    """B's best validation loss, and the test captions' mean of each metric."""
    params = params.model_copy(update={"train_b": params.train_b.model_copy(update={"epochs": epochs})})
    with TemporaryDirectory() as work:
        contexts, denoiser, trained = train_arm(B, params, data, load_embeddings("valid"), Path(work))
    scores: dict[str, Any] = caption_scores(sample_arm(contexts, denoiser, load_embeddings("test"), params, scorers))
    return [trained["training"]["best_validation_loss"], *(known_mean(told(scores[key])) for key in METRICS)]


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
