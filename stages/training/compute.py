"""How much arithmetic an update takes, so that experiments can be compared at equal compute."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def teraflops_per_update(network: nn.Module, loss: Callable[[int], Tensor]) -> float:
    """Count the floating point operations of one loss and its gradients, in 10^12; leaves no gradients behind."""
    with FlopCounterMode(display=False) as counter:
        loss(0).backward()
    network.zero_grad(set_to_none=True)
    return float(counter.get_total_flops()) / 1e12
