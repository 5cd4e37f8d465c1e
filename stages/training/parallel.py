"""Several processes that train one network, as `accelerate launch` or `torchrun` starts them; without these it is one.

Each takes batches of its own and all take the mean of their gradients, so that they hold the same weights. The losses
call parts of a network and not its `forward`, which is what accelerate's wrapper synchronises: what would be left of it
is torch's group of processes, used here. All processes see one disk, the first alone writes.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from stages.params.section import Regime
from stages.plumbing.device import device


def join() -> bool:
    """Meet the other processes where a launcher has started several; returns whether this is the first."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        on_gpus = device().startswith("cuda")
        if on_gpus:
            torch.cuda.set_device(f"cuda:{os.environ['LOCAL_RANK']}")
        distributed.init_process_group("nccl" if on_gpus else "gloo")
        atexit.register(distributed.destroy_process_group)
    return is_first()


def is_first() -> bool:
    """Whether this process writes what all of them have made."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def batches_per_update(regime: Regime) -> int:
    """How many batches all processes together take for an update."""
    return regime.gradient_accumulation * (distributed.get_world_size() if distributed.is_initialized() else 1)


def own_batches(update: int, regime: Regime) -> range:
    """The numbers of those of an update's batches that are this process's."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    first = update * batches_per_update(regime) + rank * regime.gradient_accumulation
    return range(first, first + regime.gradient_accumulation)


def updates_per_epoch(pairs: int, batch_size: int, regime: Regime) -> int:
    """How many updates see all pairs once, but for a remainder; at least one."""
    return max(1, pairs // (batch_size * batches_per_update(regime)))


def average(tensors: Iterable[Tensor]) -> None:
    """Bring tensors to their mean over all processes, in place."""
    if distributed.is_initialized():
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor /= distributed.get_world_size()


def mean(number: float) -> float:
    """A number's mean over all processes, which so agree on it."""
    if not distributed.is_initialized():
        return number
    average([one := torch.tensor(number, dtype=torch.float64, device=device())])
    return float(one)
