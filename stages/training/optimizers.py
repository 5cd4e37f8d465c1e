"""The optimisers: AdamW, also in 8 bits, and Muon beside it for matrices and kernels.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers") takes steps of equal length in all directions. torch's
own Muon takes matrices alone, one at a time and in bfloat16. This one takes convolutions' kernels, too, as
matrices `[out, in * height * width]`, and orthogonalises all of one shape in one call.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 0.01
MOMENTUM = 0.95
SMALLEST_SIDE = 16
# A quintic whose steep start brings singular values to around 1 (0.7 to 1.2) in five rounds; Jordan's coefficients.
QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5


def build_optimizers(
    name: str, parameters: list[nn.Parameter], learning_rate: float, muon_rate: float
) -> list[torch.optim.Optimizer]:
    """Muon for what it takes where it has a learning rate, and for the rest the optimiser that `name` says."""
    matrices = [parameter for parameter in parameters if muon_rate and takes(parameter)]
    rest = [parameter for parameter in parameters if not (muon_rate and takes(parameter))]
    muon = [Muon(matrices, muon_rate, WEIGHT_DECAY)] if matrices else []
    return [*muon, build_optimizer(name, rest, learning_rate)]


def build_optimizer(name: str, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """AdamW, fused; or bitsandbytes' 8-bit one, an optional dependency, on CUDA or (to try it) on the CPU.

    Raises ValueError where bitsandbytes is not installed or does not know the device.
    """
    if name != "adamw_8bit":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ValueError('optimizer: adamw_8bit needs bitsandbytes; `pip install -e ".[gpu]"`, or take adamw') from None
    kind = parameters[0].device.type
    if kind not in ("cuda", "cpu"):
        raise ValueError(
            f"optimizer: adamw_8bit does not run on {kind}; set BIND_AN_AUDIO_DEVICE to cuda or cpu, or take adamw"
        )
    eight_bit: torch.optim.Optimizer = AdamW8bit(parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
    return eight_bit


def takes(parameter: Tensor) -> bool:
    """Whether Muon takes a parameter: a matrix or kernel with at least 16 rows and columns."""
    return parameter.dim() >= 2 and min(parameter.flatten(1).shape) >= SMALLEST_SIDE


def orthogonalized(matrices: Tensor) -> Tensor:
    """Matrices `[N, R, C]` with their singular values brought to about 1, by Newton-Schulz iterations."""
    tall = matrices.shape[1] > matrices.shape[2]
    result = matrices.transpose(1, 2).contiguous() if tall else matrices
    result = result / (torch.linalg.matrix_norm(result, keepdim=True) + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(ROUNDS):
        gram = torch.bmm(result, result.transpose(1, 2))
        polynomial = torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth)
        result = torch.baddbmm(result, polynomial, result, beta=first)
    return result.transpose(1, 2) if tall else result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; the step grows by sqrt(R / C) where rows are more than columns."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(parameter.flatten(1).shape), []).append(parameter)
            for (rows, columns), alike in shapes.items():
                steps = orthogonalized(torch.stack([self._direction(parameter).flatten(1) for parameter in alike]))
                torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                length = group["lr"] * max(1.0, rows / columns) ** 0.5
                shaped = [step.view_as(one) for step, one in zip(steps, alike, strict=True)]
                torch._foreach_add_(alike, shaped, alpha=-length)

    def _direction(self, parameter: Tensor) -> Tensor:
        """The momentum after this gradient, and a step ahead of it."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)
