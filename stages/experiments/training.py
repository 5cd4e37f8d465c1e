"""What the trainings of A and B share: what they leave, the compute they take, and training through the U-Net's loss.

Through the denoising loss go both stages of experiment A and the finish of experiment B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stages.embedding.embeddings import Embeddings
from stages.params.experiments import Memory
from stages.params.section import LossWeighting, Regime
from stages.plumbing.device import device
from stages.synthesis.unet import Denoiser
from stages.training.determinism import batch_indices
from stages.training.diffusion import drop_context, fixed_diffusion_loss, random_diffusion_loss
from stages.training.loop import CurveRow, Trained, train
from stages.training.parallel import batches_per_update, updates_per_epoch

DIFFUSION_LOSS = "validation_diffusion_loss"
PLAIN_MEMORY = Memory(precision="float32", gradient_checkpointing=False, optimizer="adamw")
Contexts = Callable[[Embeddings], Tensor]


@dataclass(frozen=True)
class TrainedExperiment:
    """What a training leaves: the sizes that build its network, the best weights, one row an epoch, and metrics."""

    config: dict[str, Any]
    best: dict[str, Tensor]
    curve: list[CurveRow]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained through the U-Net; names as in params.yaml."""

    name: str
    seed: int
    updates: int
    batch_size: int
    learning_rate: float
    loss_weighting: LossWeighting
    regime: Regime
    caption_dropout: float = 0.0
    memory: Memory = PLAIN_MEMORY


def train_by_denoising(
    network: nn.Module,
    denoiser: Denoiser,
    contexts: Contexts,
    data: Embeddings,
    valid: Embeddings,
    recipe: Recipe,
    work: Path,
    measure: Callable[[], CurveRow] = dict,
) -> tuple[Trained, float]:
    """Train what of `network` requires gradients; returns the teraflops an update, too.

    Args:
        network: what is trained and kept; the best weights are those of the lowest validation diffusion loss.
        denoiser: U-Net and schedule, a part of `network` or frozen beside it.
        contexts: gives rows' contexts `[B, T, C]`.
        data: the training split.
        valid: the validation split, on the device.
        recipe: see there.
        work: folder of the checkpoint.
        measure: gives the curve's further columns.
    """

    def loss(number: int) -> Tensor:
        rows = batch_indices(number, len(data.ids), recipe.batch_size, recipe.seed, recipe.name)
        batch = data.rows(rows).to(device())
        context = drop_context(contexts(batch), batch.empty_tokens, recipe.caption_dropout)
        with torch.autocast(context.device.type, torch.bfloat16, enabled=recipe.memory.precision == "bfloat16"):
            return random_diffusion_loss(denoiser, batch.latents, context, recipe.loss_weighting)

    def validate(averaged: nn.Module) -> CurveRow:
        assert averaged is network
        return {DIFFUSION_LOSS: fixed_diffusion_loss(denoiser, valid.latents, contexts(valid)), **measure()}

    teraflops = teraflops_per_update(network, loss, recipe.regime)
    trained = train(
        network,
        loss,
        name=recipe.name,
        seed=recipe.seed,
        updates=recipe.updates,
        learning_rate=recipe.learning_rate,
        work=work,
        epoch_updates=updates_per_epoch(len(data.ids), recipe.batch_size, recipe.regime),
        validate=validate,
        best_by=DIFFUSION_LOSS,
        optimizer_name=recipe.memory.optimizer,
        regime=recipe.regime,
    )
    return trained, teraflops


def teraflops_per_update(network: nn.Module, loss: Callable[[int], Tensor], regime: Regime) -> float:
    """The floating point operations of an update's losses and gradients in all processes, in 10^12.

    By them experiments can be compared at equal compute. Leaves no gradients behind.
    """
    with FlopCounterMode(display=False) as counter:
        loss(0).backward()
    network.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / 1e12 * batches_per_update(regime)


def joined_curve(runs: Sequence[tuple[Trained, float]]) -> list[CurveRow]:
    """The rows of trainings of one network as one curve, with running counts of epochs, updates and compute.

    Where there are several, `stage` counts them; the columns are those of the first that has rows.
    """
    curve: list[CurveRow] = []
    for number, (trained, teraflops) in enumerate(runs, start=1):
        epochs, updates, compute = (curve[-1][key] if curve else 0 for key in ("epoch", "updates", "teraflops"))
        for row in trained.curve:
            counted = {
                "epoch": epochs + row["epoch"],
                **({"stage": number} if len(runs) > 1 else {}),
                "updates": updates + row["updates"],
                "teraflops": compute + row["updates"] * teraflops,
            }
            rest = {name: value for name, value in row.items() if name not in counted}
            curve.append({name: (counted | rest)[name] for name in (curve[0] if curve else counted | rest)})
    return curve


def spent(curve: Sequence[CurveRow]) -> dict[str, float]:
    """What a training took in all: `updates` and `teraflops`."""
    return {"updates": curve[-1]["updates"], "teraflops": round(curve[-1]["teraflops"], 3)}
