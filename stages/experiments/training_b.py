"""Training experiment B: alignment with CLAP's tokens and, where asked for, a finish through the frozen U-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.embedding.embeddings import Embeddings
from stages.evaluation.mismatch import mismatch_around
from stages.evaluation.retrieval import recall_at
from stages.experiments.alignment import (
    alignment_loss,
    alignment_report,
    baselines,
    contrastive_loss,
    token_importance,
)
from stages.experiments.experiment_b import ExperimentB
from stages.experiments.training import (
    DIFFUSION_LOSS,
    Recipe,
    TrainedExperiment,
    joined_curve,
    spent,
    teraflops_per_update,
    train_by_denoising,
)
from stages.params.experiments import TrainB
from stages.plumbing.device import device
from stages.synthesis.schedule import initial_noise
from stages.synthesis.unet import Denoiser
from stages.training.convergence import convergence
from stages.training.determinism import batch_indices
from stages.training.diffusion import fixed_diffusion_loss
from stages.training.loop import CurveRow, Trained, train
from stages.training.parallel import updates_per_epoch

CRITERION = "validation_loss"
FLOW_LOSS = "validation_flow_loss"


def train_experiment_b(
    params: TrainB,
    data: Embeddings,
    valid: Embeddings,
    denoiser: Denoiser,
    work: Path,
    diffusion_curve: bool = True,
) -> TrainedExperiment:
    """Train; `denoiser`, the backbone, is frozen and measures; `valid` lies on the device.

    Without `diffusion_curve` the diffusion loss is measured on the weights that are kept alone, and the baselines are
    left out: measuring takes most of the time and decides nothing.

    Metrics beside the losses: those of `convergence` for the validation loss, by how much it is above the training
    split's (`train_valid_gap`, a share of that), `alignment_report` and retrieval of the best weights, the `baselines`,
    and `mismatch_around`.
    """
    denoiser.eval().requires_grad_(False)
    config = {
        "fusion": params.fusion,
        "embedding_dim": data.text.shape[1],
        **params.model_dump(include={"width", "blocks", "heads", "linear_path", "centre"}),
        **({"flow": params.flow.model_dump()} if params.flow.steps else {}),
    }
    network = ExperimentB(config, data.clap_tokens.mean(dim=0)).to(device())
    network.fusion.modality_dropout, network.fusion.noise = params.modality_dropout, params.noise
    if params.centre:
        network.fusion.centre_on(data.text.to(device()), data.image.to(device()))
    if network.flow is not None:
        network.flow.scale_by(data.clap_tokens)
    runs = [align(params, network, data, valid, denoiser if diffusion_curve else None, work)]
    aligned, state = runs[0][0], runs[0][0].best
    best, last = aligned.curve[aligned.best_epoch - 1], aligned.curve[-1]
    metrics = {
        "best_epoch": best["epoch"],
        "best_validation_loss": round(best[CRITERION], 4),
        "last_validation_loss": round(last[CRITERION], 4),
        **spent(joined_curve(runs)),
        **convergence(aligned.curve, CRITERION),
        "train_valid_gap": round(last[CRITERION] / last_training_loss(params, network, data, valid) - 1, 4),
    }
    if diffusion_curve:
        metrics["best_validation_diffusion_loss"] = round(best[DIFFUSION_LOSS], 4)
        metrics["last_validation_diffusion_loss"] = round(last[DIFFUSION_LOSS], 4)
        metrics |= baseline_metrics(params, data, valid, denoiser)
    network.load_state_dict(state)
    if params.finish.updates:
        runs.append(finish(params, network, denoiser, data, valid, work))
        finished = runs[-1][0]
        metrics |= spent(joined_curve(runs))
        network.load_state_dict(state := finished.best)
        metrics["finished_validation_diffusion_loss"] = round(min(row[DIFFUSION_LOSS] for row in finished.curve), 4)
    elif not diffusion_curve:
        with torch.no_grad():
            context = network.eval().context(valid.text, valid.image, range(len(valid.ids)))
            metrics["best_validation_diffusion_loss"] = round(fixed_diffusion_loss(denoiser, valid.latents, context), 4)
    metrics |= best_report(network.eval(), valid)
    return TrainedExperiment(config, state, joined_curve(runs), metrics)


def align(
    params: TrainB, network: ExperimentB, data: Embeddings, valid: Embeddings, denoiser: Denoiser | None, work: Path
) -> tuple[Trained, float]:
    """Learn CLAP's tokens; returns the teraflops an update, too. `denoiser` measures each epoch, where there is one."""
    per_epoch = updates_per_epoch(len(data.ids), params.batch_size, params.regime)
    mean_tokens = network.generator.mean_tokens

    def loss(number: int) -> Tensor:
        batch = data.rows(batch_indices(number, len(data.ids), params.batch_size, params.seed, "train_b")).to(device())
        predicted, target = network.predict(batch.text, batch.image), batch.clap_tokens
        importance = token_importance(batch.clap_lengths, target.shape[1], params.position_weights)
        value = alignment_loss(predicted, target, params.loss_weights, importance)
        if params.loss_weights.contrastive:
            contrast = contrastive_loss(predicted[:, 0], target[:, 0], mean_tokens[0])
            value = value + params.loss_weights.contrastive * contrast
        if network.flow is not None:
            count = len(target)
            times = ((torch.randperm(count) + torch.rand(count)) / count).to(device())
            noise = torch.randn(target.shape).to(device())
            value = value + network.flow.loss(predicted.detach(), target, times, noise)
        return value

    def validate(averaged: nn.Module) -> CurveRow:
        assert averaged is network
        return alignment_columns(params, network, valid, denoiser)

    teraflops = teraflops_per_update(network, loss, params.regime)
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
        best_by=FLOW_LOSS if params.flow.steps else CRITERION,
        regime=params.regime,
    )
    return trained, teraflops


def alignment_columns(params: TrainB, network: ExperimentB, valid: Embeddings, denoiser: Denoiser | None) -> CurveRow:
    """What an epoch's row says of the validation split."""
    predicted, seeds = network.predict(valid.text, valid.image), range(len(valid.ids))
    report = alignment_report(predicted, valid.clap_tokens, valid.clap_lengths, network.generator.mean_tokens)
    flow: CurveRow = {}
    if network.flow is not None:
        times = (torch.arange(len(seeds)) + 0.5).to(predicted.device) / len(seeds)
        noise = initial_noise(seeds, tuple(predicted.shape[1:])).to(predicted.device)
        flow[FLOW_LOSS] = float(network.flow.loss(predicted, valid.clap_tokens, times, noise))
    if denoiser:
        context = network.context(valid.text, valid.image, seeds)
        flow[DIFFUSION_LOSS] = fixed_diffusion_loss(denoiser, valid.latents, context)
    return {
        CRITERION: float(alignment_loss(predicted, valid.clap_tokens, params.loss_weights)),
        **flow,
        **{name: report[name] for name in ("explained_first", "explained_words", "explained_padding")},
    }


def finish(
    params: TrainB, network: ExperimentB, denoiser: Denoiser, data: Embeddings, valid: Embeddings, work: Path
) -> tuple[Trained, float]:
    """Go on from the aligned weights through the frozen U-Net's denoising loss; returns as `align` does."""
    recipe = Recipe(
        name="train_b_finish",
        seed=params.seed,
        updates=params.finish.updates,
        batch_size=params.batch_size,
        learning_rate=params.finish.learning_rate,
        loss_weighting=params.finish.loss_weighting,
        regime=params.regime,
    )

    return train_by_denoising(
        network,
        denoiser,
        lambda rows: network.context(rows.text, rows.image),
        data,
        valid,
        recipe,
        work,
        measure=lambda: alignment_columns(params, network, valid, None),
    )


@torch.no_grad()
def last_training_loss(params: TrainB, network: ExperimentB, data: Embeddings, valid: Embeddings) -> float:
    """The validation's loss on as many training pairs."""
    rows = data.rows(torch.arange(min(len(valid.ids), len(data.ids)))).to(device())
    predicted = network.eval().predict(rows.text, rows.image)
    return float(alignment_loss(predicted, rows.clap_tokens, params.loss_weights))


@torch.no_grad()
def baseline_metrics(params: TrainB, data: Embeddings, valid: Embeddings, denoiser: Denoiser) -> dict[str, Any]:
    """Both losses and the explained variance of each of `baselines`."""
    metrics: dict[str, Any] = {}
    mean_tokens = data.clap_tokens.mean(dim=0).to(device())
    for name, predicted in baselines(data, valid.to("cpu")).items():
        tokens = predicted.to(device())
        report = alignment_report(tokens, valid.clap_tokens, valid.clap_lengths, mean_tokens)
        found = {
            CRITERION: float(alignment_loss(tokens, valid.clap_tokens, params.loss_weights)),
            DIFFUSION_LOSS: fixed_diffusion_loss(denoiser, valid.latents, tokens),
            **{key: report[key] for key in ("explained_first", "explained_words")},
        }
        metrics |= {f"{name}_{key}": round(value, 4) for key, value in found.items()}
    return metrics


@torch.no_grad()
def best_report(network: ExperimentB, valid: Embeddings) -> dict[str, float]:
    """How the contexts of the weights that are kept compare with CLAP's tokens, on the validation split.

    By a flow they are drawn; `predicted_` then tells what they are drawn about.
    """
    mean_tokens, target = network.generator.mean_tokens, valid.clap_tokens
    context = network.context(valid.text, valid.image, range(len(valid.ids)))
    report = alignment_report(context, target, valid.clap_lengths, mean_tokens)
    if network.flow is not None:
        predicted = network.predict(valid.text, valid.image)
        found = alignment_report(predicted, target, valid.clap_lengths, mean_tokens)
        report |= {f"predicted_{name}": value for name, value in found.items()}
    centred, truth = (context - mean_tokens).flatten(1), (target - mean_tokens).flatten(1)
    report["retrieval_recall_at_1"] = recall_at(centred, truth, 1)
    report |= mismatch_around(network.fusion(valid.text, valid.image), context, target)
    return {name: round(value, 4) for name, value in report.items()}
