"""Train the judges, a source classifier and a second CLAP, which score clips and never condition one.

Command: `python -m stages.judges`
Reads:   data/quality/accepted.jsonl, data/corpus/
Writes:  models/judges/, metrics/judges.json
Runtime: about 2 minutes for 2,560 training clips on 2 cores.

Both hear waveform-derived mels of their own, not the codec's, and have a seed of their own. With `judges.clap:
laion_clap` the second CLAP is LAION's with published weights; only the classifier is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.corpus.clips import Row, accepted_clips, foundation_split, whole_key
from stages.evaluation.retrieval import recall_at
from stages.formats.files import replacing_folder, write_json
from stages.judging.clap_scorer import CLAP, convert_scorer, load_scorer
from stages.judging.networks import (
    JUDGES,
    SourceClassifier,
    augmented,
    build_scorer_clap,
    embed_captions,
    embed_clips,
    judge_mels,
    load_classifier,
    source_numbers,
    source_recall,
)
from stages.params.models import LaionClapJudges, TrainedJudges
from stages.params.schema import load_params
from stages.plumbing.running import run
from stages.towers.clap import Tokenizer, word_pieces, write_vocabulary
from stages.towers.contrastive import contrastive_loss, equal_pairs, key_codes
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.loop import Trained, train_by_schedule
from stages.training.stored import stored, waveform_pieces
from stages.training.work import remove_work, work_folder


def main() -> None:
    """Train both, write them, report their quality on real test clips."""
    params = load_params().judges
    be_deterministic(params.seed)
    rows = accepted_clips(split := foundation_split())
    sources = sorted({source for row in rows for source in row["sources"]})
    work = work_folder("judges")
    mels = stored(work / "mels", map(judge_mels, waveform_pieces(rows)))
    curves = {}
    config: dict[str, Any] = {
        "sources": sources,
        "channels": params.classifier_channels,
        "embedding_dim": params.classifier_embedding_dim,
    }
    with replacing_folder(JUDGES) as folder:
        if params.clap == "laion_clap":
            convert_scorer(folder, params.weights, waveform_pieces(rows), params.distance_dimensions)
        else:
            write_vocabulary(folder / "vocab.txt", word_pieces(row["caption"] for row in rows))
            clap = train_scorer_clap(rows, mels, Tokenizer(folder / "vocab.txt"), params, work)
            save_file(clap.last, folder / CLAP)
            config["clap_embedding_dim"] = params.clap_embedding_dim
            curves["scorer_clap"] = clap.curve
        if sources:
            classifier = train_classifier(rows, mels, sources, params, work)
            save_file(classifier.last, folder / "classifier.safetensors")
            curves["classifier"] = classifier.curve
        write_json(folder / "config.json", config)
    metrics = {**report(accepted_clips("test")), "trained_on": split}
    write_json("metrics/judges.json", metrics)
    remove_work(work)
    log_stage("judges", metrics, curves)


def train_classifier(
    rows: list[Row], mels: Tensor, sources: list[str], params: TrainedJudges | LaionClapJudges, work: Path
) -> Trained:
    """Cross-entropy against the clip's sources; a clip of two sources is half of each."""
    schedule = params.classifier_training
    classifier = SourceClassifier(params.classifier_channels, params.classifier_embedding_dim, len(sources))
    targets = torch.zeros(len(rows), len(sources))
    for index, row in enumerate(rows):
        for source in row["sources"]:
            targets[index, sources.index(source)] += 1 / len(row["sources"])

    def loss(update: int) -> Tensor:
        batch = batch_indices(update, len(rows), schedule.batch_size, params.seed, "classifier")
        return nn.functional.cross_entropy(classifier(augmented(mels[batch])), targets[batch])

    return train_by_schedule(classifier, loss, schedule, name="classifier", seed=params.seed, work=work)


def train_scorer_clap(
    rows: list[Row], mels: Tensor, tokenizer: Tokenizer, params: TrainedJudges, work: Path
) -> Trained:
    """Caption-audio pairs, contrastively."""
    schedule = params.clap_training
    clap = build_scorer_clap(params.clap_embedding_dim, tokenizer.vocabulary)
    tokens = tokenizer([row["caption"] for row in rows])
    codes = key_codes(rows, whole_key)

    def loss(update: int) -> Tensor:
        batch = batch_indices(update, len(rows), schedule.batch_size, params.seed, "scorer")
        text, audio = embed_captions(clap, tokens[batch]), embed_clips(clap, augmented(mels[batch]))
        return contrastive_loss(text, audio, clap.logit_scale_a.exp().clamp(max=100), equal_pairs(codes[batch]))

    return train_by_schedule(clap, loss, schedule, name="scorer_clap", seed=params.seed, work=work)


@torch.no_grad()
def report(rows: list[Row]) -> dict[str, float]:
    """Accuracy of the classifier and retrieval by the CLAP on real test clips."""
    scorer = load_scorer()
    text = scorer.embed_texts([row["caption"] for row in rows])
    audio = torch.cat([scorer.embed_audio(part) for part in waveform_pieces(rows)])
    keys = [whole_key(row) for row in rows]
    metrics: dict[str, float] = {"test_clips": len(rows)}
    judge = load_classifier()
    if judge is not None:
        classifier, sources = judge
        truth = source_numbers(rows, sources)
        logits = torch.cat([classifier(judge_mels(part)) for part in waveform_pieces(rows)])
        recalls = [recall for recall in source_recall(logits, truth) if recall == recall]
        if recalls:
            metrics["source_accuracy"] = round(sum(recalls) / len(recalls), 4)
            metrics["source_accuracy_chance"] = round(sum(map(len, truth)) / len(recalls) / len(sources), 4)
    for k in (1, 10):
        metrics[f"text_to_audio_recall_at_{k}"] = round(recall_at(text, audio, k, keys), 4)
    metrics["clap_score_matched"] = round(float((text * audio).sum(dim=1).mean()), 4)
    metrics["clap_score_mismatched"] = round(float((text * audio.roll(1, 0)).sum(dim=1).mean()), 4)
    return metrics


if __name__ == "__main__":
    run(main)
