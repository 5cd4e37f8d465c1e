"""Experiment A, direct replacement: a projection of the fused embedding takes the place of CLAP's token features.

Command: `python -m stages.train_a`
Reads:   data/embeddings/, models/backbone/
Writes:  models/experiment_a/, metrics/train_a.json, metrics/curves/train_a.tsv
Runtime: about 70 s on 2 cores.

Stage 1 trains fusion and projection through the frozen U-Net; stage 2 goes on with the U-Net, a tenth of the
contexts dropped to "" so that guidance keeps working.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from stages.embedding.embeddings import Embeddings, load_embeddings
from stages.experiments.experiment_a import EXPERIMENT_A, ExperimentA
from stages.experiments.fusion import save_experiment
from stages.formats.files import replacing_folder, write_json, write_tsv
from stages.params.experiments import TrainA
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.synthesis.unet import Denoiser, load_denoiser
from stages.tracking.stage_runs import log_stage
from stages.training.compute import teraflops_per_update
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.diffusion import drop_context, fixed_diffusion_loss, random_diffusion_loss
from stages.training.loop import Row, Trained, train
from stages.training.work import remove_work, work_folder

CRITERION = "validation_diffusion_loss"


def main() -> None:
    """Train both stages, keep the best weights, write curve and metrics."""
    params = load_params().train_a
    be_deterministic(params.seed)
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    denoiser = load_denoiser()
    if params.memory.gradient_checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    config = {
        "fusion": params.fusion,
        "embedding_dim": data.text.shape[1],
        "context_dim": data.clap_tokens.shape[2],
        "context_tokens": params.context_tokens,
        "length": data.clap_tokens.shape[1],
    }
    network = ExperimentA(config, denoiser)
    network.to(device())
    references = reference_losses(denoiser, valid)
    work = work_folder("train_a")
    runs = [train_stage(number, network, data, valid, params, work) for number in (1, 2)]
    curve = joined_curve(runs)
    best_run = min((trained for trained, _ in runs if trained.curve), key=lambda t: min(r[CRITERION] for r in t.curve))
    with replacing_folder(EXPERIMENT_A) as folder:
        save_experiment(folder, config, best_run.best)
    best = min(curve, key=lambda row: row[CRITERION])
    metrics = {
        "best_epoch": best["epoch"],
        "best_stage": best["stage"],
        "best_validation_diffusion_loss": round(best[CRITERION], 4),
        "last_validation_diffusion_loss": round(curve[-1][CRITERION], 4),
        "last_training_loss": round(curve[-1]["training_loss"], 4),
        "updates": curve[-1]["updates"],
        "teraflops": round(curve[-1]["teraflops"], 3),
        **references,
    }
    write_tsv("metrics/curves/train_a.tsv", curve)
    write_json("metrics/train_a.json", metrics)
    remove_work(work)
    log_stage("train_a", params, metrics, {"train_a": curve})


@torch.no_grad()
def reference_losses(denoiser: Denoiser, valid: Embeddings) -> dict[str, float]:
    """The frozen backbone's validation loss with the true CLAP features, and with "" for every clip."""
    denoiser.eval()
    empty = valid.empty_tokens.expand_as(valid.clap_tokens)
    return {
        "reference_validation_diffusion_loss": round(
            fixed_diffusion_loss(denoiser, valid.latents, valid.clap_tokens), 4
        ),
        "unconditioned_validation_diffusion_loss": round(fixed_diffusion_loss(denoiser, valid.latents, empty), 4),
    }


def train_stage(
    number: int, network: ExperimentA, data: Embeddings, valid: Embeddings, params: TrainA, work: Path
) -> tuple[Trained, float]:
    """Train stage 1, which leaves the U-Net frozen and drops no context, or 2. Returns the teraflops an update, too."""
    name, denoiser = f"train_a_stage_{number}", network.denoiser
    stage, caption_dropout = (params.stage_1, 0.0) if number == 1 else (params.stage_2, params.caption_dropout)
    denoiser.requires_grad_(number == 2)
    per_epoch = max(1, len(data.ids) // params.batch_size)

    def loss(update: int) -> Tensor:
        batch = data.rows(batch_indices(update, len(data.ids), params.batch_size, params.seed, name)).to(device())
        context = network.context(batch.text, batch.image)
        context = drop_context(context, batch.empty_tokens, caption_dropout)
        with torch.autocast(context.device.type, torch.bfloat16, enabled=params.memory.precision == "bfloat16"):
            return random_diffusion_loss(denoiser, batch.latents, context, params.loss_weighting)

    def validate(averaged: nn.Module) -> Row:
        assert averaged is network
        context = network.context(valid.text, valid.image)
        return {CRITERION: fixed_diffusion_loss(denoiser, valid.latents, context)}

    teraflops = teraflops_per_update(network, loss)
    trained = train(
        network,
        loss,
        name=name,
        seed=params.seed,
        updates=stage.epochs * per_epoch,
        learning_rate=stage.learning_rate,
        work=work,
        epoch_updates=per_epoch,
        validate=validate,
        best_by=CRITERION,
        optimizer_name=params.memory.optimizer,
    )
    return trained, teraflops


def joined_curve(runs: list[tuple[Trained, float]]) -> list[Row]:
    """Both stages' rows as one curve, with running counts of epochs, updates and compute."""
    curve: list[Row] = []
    for number, (trained, teraflops) in enumerate(runs, start=1):
        epochs, updates, spent = (curve[-1][key] if curve else 0 for key in ("epoch", "updates", "teraflops"))
        for row in trained.curve:
            counted = {
                "epoch": epochs + row["epoch"],
                "stage": number,
                "updates": updates + row["updates"],
                "teraflops": spent + row["updates"] * teraflops,
            }
            curve.append(counted | {name: row[name] for name in ("training_loss", CRITERION)})
    return curve


if __name__ == "__main__":
    run(main)
