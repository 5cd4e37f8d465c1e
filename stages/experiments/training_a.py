"""Training experiment A: stage 1 through the frozen U-Net, stage 2 with it."""

from __future__ import annotations

from pathlib import Path

import torch

from stages.embedding.embeddings import Embeddings
from stages.evaluation.mismatch import mismatch_around
from stages.experiments.experiment_a import ExperimentA
from stages.experiments.training import (
    DIFFUSION_LOSS,
    Recipe,
    TrainedExperiment,
    joined_curve,
    spent,
    train_by_denoising,
)
from stages.params.experiments import TrainA
from stages.plumbing.device import device
from stages.synthesis.unet import Denoiser
from stages.training.convergence import convergence
from stages.training.diffusion import fixed_diffusion_loss
from stages.training.loop import Trained
from stages.training.parallel import updates_per_epoch


def train_experiment_a(
    params: TrainA, data: Embeddings, valid: Embeddings, denoiser: Denoiser, work: Path
) -> TrainedExperiment:
    """Train both stages. `denoiser`, the backbone, is trained along; `valid` lies on the device.

    Metrics beside the losses: those of `convergence` for the validation diffusion loss, by how much it is above the
    training split's (`train_valid_gap`, a share of that), and `mismatch_around`.
    """
    config = {
        "fusion": params.fusion,
        "embedding_dim": data.text.shape[1],
        "context_dim": data.clap_tokens.shape[2],
        "context_tokens": params.context_tokens,
        "length": data.clap_tokens.shape[1],
    }
    if params.memory.gradient_checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    network = ExperimentA(config, denoiser).to(device())
    network.fusion.modality_dropout = params.modality_dropout
    references = reference_losses(denoiser, valid)
    runs = [train_stage(number, network, data, valid, params, work) for number in (1, 2)]
    curve = joined_curve(runs)
    best = min(curve, key=lambda row: row[DIFFUSION_LOSS])
    weights = runs[best["stage"] - 1][0].best
    metrics = {
        "best_epoch": best["epoch"],
        "best_stage": best["stage"],
        "best_validation_diffusion_loss": round(best[DIFFUSION_LOSS], 4),
        "last_validation_diffusion_loss": round(curve[-1][DIFFUSION_LOSS], 4),
        "last_training_loss": round(curve[-1]["training_loss"], 4),
        **spent(curve),
        **references,
        **convergence(curve, DIFFUSION_LOSS),
        "train_valid_gap": round(curve[-1][DIFFUSION_LOSS] / last_training_diffusion_loss(network, data, valid) - 1, 4),
    }
    network.load_state_dict(weights)
    network.eval()
    with torch.no_grad():
        fused, context = network.fusion(valid.text, valid.image), network.context(valid.text, valid.image)
        metrics |= mismatch_around(fused, context, valid.clap_tokens)
    return TrainedExperiment(config, weights, curve, metrics)


@torch.no_grad()
def reference_losses(denoiser: Denoiser, valid: Embeddings) -> dict[str, float]:
    """The frozen backbone's validation loss with the true CLAP features, and with "" for every clip."""
    denoiser.eval()
    contexts = {"reference": valid.clap_tokens, "unconditioned": valid.empty_tokens.expand_as(valid.clap_tokens)}
    return {
        f"{name}_{DIFFUSION_LOSS}": round(fixed_diffusion_loss(denoiser, valid.latents, context), 4)
        for name, context in contexts.items()
    }


@torch.no_grad()
def last_training_diffusion_loss(network: ExperimentA, data: Embeddings, valid: Embeddings) -> float:
    """The validation's diffusion loss on as many training pairs, on the same noise."""
    rows = data.rows(torch.arange(min(len(valid.ids), len(data.ids)))).to(device())
    return fixed_diffusion_loss(network.denoiser, rows.latents, network.eval().context(rows.text, rows.image))


def train_stage(
    number: int, network: ExperimentA, data: Embeddings, valid: Embeddings, params: TrainA, work: Path
) -> tuple[Trained, float]:
    """Train stage 1, which leaves the U-Net frozen, or 2. Returns the teraflops an update, too."""
    network.denoiser.requires_grad_(number == 2)
    recipe = stage_recipe(number, f"train_a_stage_{number}", params, len(data.ids))
    return train_by_denoising(
        network, network.denoiser, lambda rows: network.context(rows.text, rows.image), data, valid, recipe, work
    )


def stage_recipe(number: int, name: str, params: TrainA, pairs: int) -> Recipe:
    """How stage 1, which drops no context, or 2 is trained on so many pairs."""
    stage, caption_dropout = (params.stage_1, 0.0) if number == 1 else (params.stage_2, params.caption_dropout)
    return Recipe(
        name=name,
        seed=params.seed,
        updates=stage.epochs * updates_per_epoch(pairs, params.batch_size, params.regime),
        batch_size=params.batch_size,
        learning_rate=stage.learning_rate,
        loss_weighting=params.loss_weighting,
        regime=params.regime,
        caption_dropout=caption_dropout,
        memory=params.memory,
    )
