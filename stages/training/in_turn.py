"""A training that another network's training follows in the same stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stages.params.models import Schedule
from stages.training.determinism import derive_seed
from stages.training.loop import Trained, train_by_schedule


def train_first(
    network: nn.Module, loss: Callable[[int], Tensor], schedule: Schedule, *, name: str, seed: int, **others: Any
) -> Trained:
    """`train_by_schedule`; the network that is made next begins with the same weights, resumed or not.

    Its weights are drawn from where the last update has left torch's generator, and a training that was resumed after
    its last update has drawn nothing: so that update's numbers are drawn again.
    """
    trained = train_by_schedule(network, loss, schedule, name=name, seed=seed, **others)
    torch.manual_seed(derive_seed(seed, name, schedule.updates - 1))
    network.train()  # dropout draws, too
    with torch.no_grad():
        loss(schedule.updates - 1)
    network.eval()
    return trained
