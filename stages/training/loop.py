"""The one training loop: AdamW or Muon, warm-up and decay, optional weight average, validation, resume, processes.

A run that was killed goes on from its last checkpoint and ends with the same bytes as one that was not:
a batch and its random numbers depend on the seed and the batch's number alone.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.formats.files import UnwritableError
from stages.params.models import Schedule
from stages.params.section import Regime
from stages.plumbing.environment import number
from stages.plumbing.live import tell
from stages.plumbing.progress import progress
from stages.training.checkpoint import (
    copied_state,
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from stages.training.determinism import derive_seed
from stages.training.optimizers import build_optimizers
from stages.training.parallel import average, is_first, mean, own_batches

WARM_UP = 0.05
FINAL_RATE = 0.05
GRADIENT_NORM = 1.0
PLAIN_REGIME = Regime(rate="cosine", gradient_accumulation=1, patience=0)

CurveRow = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a run leaves: the curve (one row an epoch) and weights by name; `best` is `last` without a criterion."""

    curve: list[CurveRow]
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int


def learning_rate_factor(update: int, updates: int, regime: Regime = PLAIN_REGIME) -> float:
    """Linear warm-up over the first 5 % of the updates, then 1, or a cosine from 1 down to 0.05."""
    warm_up = max(1, int(WARM_UP * updates))
    if update < warm_up:
        return (update + 1) / warm_up
    if regime.rate == "constant":
        return 1.0
    position = (update - warm_up) / max(1, updates - warm_up)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * position))


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter]) -> float:
    """Scale gradients to a common norm of 1 where it is larger, as torch's `clip_grad_norm_`; return what it was."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if float(scale := GRADIENT_NORM / (norm + 1e-6)) < 1:
        torch._foreach_mul_(gradients, scale)
    return float(norm)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Bring the exponential average of the weights up to date, in one call for all; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)


def train_by_schedule(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    schedule: Schedule,
    *,
    name: str,
    seed: int,
    work: Path,
    epochs: int = 10,
    validate: Callable[[nn.Module], CurveRow] | None = None,
    ema_decay: float = 0.0,
) -> Trained:
    """`train` as long and as fast as a section of params.yaml says, in `epochs` rows of the curve, or one more.

    The network that is made next begins with the same weights, resumed or not: they are drawn from where the last
    update has left torch's generator, and a training that was resumed after it has drawn nothing. So `loss` is called
    once more for the last update, without gradients: it must keep nothing but what it draws.
    """
    trained = train(
        network,
        loss,
        name=name,
        seed=seed,
        updates=schedule.updates,
        learning_rate=schedule.learning_rate,
        muon_rate=schedule.muon_rate,
        work=work,
        epoch_updates=max(1, schedule.updates // epochs),
        validate=validate,
        ema_decay=ema_decay,
    )
    torch.manual_seed(derive_seed(seed, name, schedule.updates - 1))
    network.train()  # dropout draws, too
    with torch.no_grad():
        loss(schedule.updates - 1)
    network.eval()
    return trained


def train(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    name: str,
    seed: int,
    updates: int,
    learning_rate: float,
    work: Path,
    epoch_updates: int,
    validate: Callable[[nn.Module], CurveRow] | None = None,
    best_by: str | None = None,
    ema_decay: float = 0.0,
    optimizer_name: str = "adamw",
    muon_rate: float = 0.0,
    regime: Regime = PLAIN_REGIME,
) -> Trained:
    """Minimise `loss(batch)` over the parameters of `network` that require gradients.

    Args:
        network: everything that is trained, and saved; frozen parts may lie in it or outside.
        loss: called with a batch's number, its own affair, and torch seeded by (seed, name, number).
        name: what the progress bar and the checkpoint are called.
        seed: of the stage.
        updates: optimiser steps in all.
        learning_rate: the peak of the schedule.
        work: folder of the checkpoint; the caller names it by a hash of params, inputs and code.
        epoch_updates: steps between two rows of the curve.
        validate: gives the validation columns of a row; gets the averaged network where `ema_decay` > 0.
        best_by: the column whose lowest value marks the best weights.
        ema_decay: decay of the exponential average of the weights; 0 trains without one.
        optimizer_name: `adamw`, fused, or `adamw_8bit` by bitsandbytes.
        muon_rate: Muon's peak for matrices and kernels; 0 leaves them to the optimiser of the rest.
        regime: the rate's way, batches an update, and the patience with `best_by`.

    Raises ValueError where the loss stays not finite, and where processes have found different checkpoints.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizers = build_optimizers(optimizer_name, trainable, learning_rate, muon_rate)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    averaged = copy.deepcopy(network) if ema_decay > 0 else network
    checkpoint = work / f"{name}.safetensors"
    curve: list[CurveRow] = []
    best: dict[str, Tensor] = {}
    best_epoch = 0
    losses: list[float] = []
    norms: list[float] = []

    def resume() -> int:
        """Put the newest checkpoint's state in place and return how many updates it has; 0 where there is none."""
        nonlocal best, curve, best_epoch, losses, norms
        kept = newest_checkpoint(checkpoint)
        if kept is None:
            return 0
        tensors, state = kept
        network.load_state_dict(tensors["network"])
        for position, optimizer in enumerate(optimizers):
            restore_optimizer(optimizer, tensors.get(f"optimizer_{position}", {}))
        if ema_decay > 0:
            averaged.load_state_dict(tensors["average"])
        best = tensors.get("best", {})
        curve, best_epoch, losses, norms = (state[key] for key in ("curve", "best_epoch", "losses", "norms"))
        print(f"{name}: resumed after update {state['update']} of {updates}")
        return int(state["update"])

    unwritable = False

    def keep(update: int) -> None:
        nonlocal unwritable
        if not is_first():
            return
        tensors = {"network": network.state_dict(), "best": best}
        tensors |= {f"optimizer_{position}": optimizer_tensors(one) for position, one in enumerate(optimizers)}
        if ema_decay > 0:
            tensors["average"] = averaged.state_dict()
        state = {"curve": curve, "best_epoch": best_epoch, "losses": losses, "norms": norms, "update": update}
        try:
            save_checkpoint(checkpoint, tensors, state)
        except UnwritableError as error:
            # A checkpoint is a convenience: no reason to lose the training that it would save.
            if not unwritable:
                print(f"warning: {name} trains on without a checkpoint: {error}", file=sys.stderr)
            unwritable = True

    def is_hopeless() -> bool:
        return bool(regime.patience and curve) and len(curve) - best_epoch >= regime.patience

    pause = number("BIND_AN_AUDIO_CHECKPOINT_SECONDS", 20.0, may_be_zero=True)
    kept_at = time.monotonic()
    update, went_back = resume(), False
    if mean(update) != update:
        raise ValueError(f"{name}: the processes see different checkpoints; let all write to one BIND_AN_AUDIO_CACHE")
    bar = progress((), name, total=updates, initial=update)
    while update < updates and not is_hopeless():
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * learning_rate_factor(update, updates, regime)
        network.train()
        network.zero_grad(set_to_none=True)
        value = 0.0
        for batch in own_batches(update, regime):
            torch.manual_seed(derive_seed(seed, name, batch))
            part = loss(batch) / regime.gradient_accumulation
            part.backward()
            value += float(part.detach())
        average(parameter.grad for parameter in trainable if parameter.grad is not None)
        losses.append(mean(value))
        norms.append(clip_gradients(trainable))
        if not math.isfinite(losses[-1] + norms[-1]):
            # Not applied, so no checkpoint holds it. A passing fault of the machine is gone at the second try.
            again = 0 if went_back else resume()
            if not again:
                raise ValueError(f"{name}: the loss is no longer finite at update {update}; lower its learning_rate")
            print(f"warning: {name}: the loss is not finite at update {update}; back to {again}", file=sys.stderr)
            update, went_back = again, True
            continue
        for optimizer in optimizers:
            optimizer.step()
        if ema_decay > 0:
            move_average(averaged, network, ema_decay if update else 0.0)
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        if (update + 1) % epoch_updates == 0 or update + 1 == updates:
            row: CurveRow = {
                "epoch": len(curve) + 1,
                "updates": update + 1,
                "training_loss": sum(losses) / len(losses),
                "gradient_norm": sum(norms) / len(norms),
                "highest_gradient_norm": max(norms),
            }
            losses, norms = [], []
            if validate is not None:
                averaged.eval()
                with torch.no_grad():
                    row |= validate(averaged)
            if best_by is not None:
                row[best_by] = mean(row[best_by])
            curve.append(row)
            tell(curve=name, row=row)
            if best_by is not None and row[best_by] <= min(earlier[best_by] for earlier in curve):
                best, best_epoch = copied_state(averaged), row["epoch"]
        if time.monotonic() - kept_at >= pause:
            keep(update + 1)
            kept_at = time.monotonic()
        update += 1
        bar.update(update - bar.n)
    bar.close()
    keep(updates)
    averaged.eval()
    last = copied_state(averaged)
    return Trained(curve=curve, last=last, best=best or last, best_epoch=best_epoch or len(curve))
