"""Experiment B, CLAP alignment: the fused embedding learns to become CLAP's own token sequence.

Command: `python -m stages.train_b`
Reads:   data/embeddings/, models/backbone/ (to measure, not to train)
Writes:  models/experiment_b/, metrics/train_b.json, metrics/curves/train_b.tsv
Runtime: about 40 s on 2 cores.

The loss is 2.0 MSE + 1.0 (1 - cosine) against CLAP's token features; the best weights are those of its lowest value on
the validation split. Each epoch also measures the U-Net's diffusion loss under the predicted tokens, on the noise that
experiment A is measured on: that is what compares the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.embedding.embeddings import load_embeddings
from stages.evaluation.retrieval import recall_at
from stages.experiments.experiment_b import EXPERIMENT_B, ExperimentB, alignment_loss, alignment_report
from stages.experiments.fusion import save_experiment
from stages.formats.files import replacing_folder, write_json, write_tsv
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.synthesis.unet import load_denoiser
from stages.tracking.stage_runs import log_stage
from stages.training.compute import teraflops_per_update
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.diffusion import fixed_diffusion_loss
from stages.training.loop import Row, train
from stages.training.work import remove_work, work_folder

CRITERION = "validation_loss"


def main() -> None:
    """Train, keep the best weights, write curve and metrics beside the mean tokens' baseline."""
    params = load_params().train_b
    be_deterministic(params.seed)
    work = work_folder("train_b")
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    denoiser = load_denoiser().eval().requires_grad_(False).to(device())
    config = {
        "fusion": params.fusion,
        "embedding_dim": data.text.shape[1],
        "width": params.width,
        "blocks": params.blocks,
        "heads": params.heads,
    }
    mean_tokens = data.clap_tokens.mean(dim=0).to(device())
    network = ExperimentB(config, mean_tokens).to(device())
    per_epoch = max(1, len(data.ids) // params.batch_size)

    def loss(update: int) -> Tensor:
        batch = data.rows(batch_indices(update, len(data.ids), params.batch_size, params.seed, "train_b")).to(device())
        predicted = network.context(batch.text, batch.image)
        return alignment_loss(predicted, batch.clap_tokens, params.loss_weights)

    def validate(averaged: nn.Module) -> Row:
        assert averaged is network
        predicted = network.context(valid.text, valid.image)
        centred, truth = (predicted - mean_tokens).flatten(1), (valid.clap_tokens - mean_tokens).flatten(1)
        return {
            CRITERION: float(alignment_loss(predicted, valid.clap_tokens, params.loss_weights)),
            "validation_diffusion_loss": fixed_diffusion_loss(denoiser, valid.latents, predicted),
            **alignment_report(predicted, valid.clap_tokens, valid.clap_lengths),
            "retrieval_recall_at_1": recall_at(centred, truth, 1),
        }

    teraflops = teraflops_per_update(network, loss)
    trained = train(
        network,
        loss,
        name="train_b",
        seed=params.seed,
        updates=params.epochs * per_epoch,
        learning_rate=params.learning_rate,
        work=work,
        epoch_updates=per_epoch,
        validate=validate,
        best_by=CRITERION,
    )
    curve = [
        {"epoch": row["epoch"], "updates": row["updates"], "teraflops": row["updates"] * teraflops} | row
        for row in trained.curve
    ]
    with replacing_folder(EXPERIMENT_B) as folder:
        save_experiment(folder, config, trained.best)
    best = curve[trained.best_epoch - 1]
    with torch.no_grad():
        baseline = mean_tokens.expand_as(valid.clap_tokens)
        baseline_report = alignment_report(baseline, valid.clap_tokens, valid.clap_lengths)
        baseline_loss = fixed_diffusion_loss(denoiser, valid.latents, baseline)
    metrics = {
        "best_epoch": best["epoch"],
        "best_validation_loss": round(best[CRITERION], 4),
        "last_validation_loss": round(curve[-1][CRITERION], 4),
        "best_validation_diffusion_loss": round(best["validation_diffusion_loss"], 4),
        "last_validation_diffusion_loss": round(curve[-1]["validation_diffusion_loss"], 4),
        "updates": curve[-1]["updates"],
        "teraflops": round(curve[-1]["teraflops"], 3),
        **{name: round(best[name], 4) for name in [*baseline_report, "retrieval_recall_at_1"]},
        **{f"mean_tokens_{name}": round(value, 4) for name, value in baseline_report.items()},
        "mean_tokens_validation_diffusion_loss": round(baseline_loss, 4),
    }
    write_tsv("metrics/curves/train_b.tsv", curve)
    write_json("metrics/train_b.json", metrics)
    remove_work(work)
    log_stage("train_b", params, metrics, {"train_b": curve})


if __name__ == "__main__":
    run(main)
