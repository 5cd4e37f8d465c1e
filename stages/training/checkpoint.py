"""A run's whole state in one safetensors file: weights, optimiser moments, average, curve and position."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from stages.formats.files import replacing

Tensors = dict[str, dict[str, torch.Tensor]]


def save_checkpoint(path: Path, tensors: Tensors, state: dict[str, Any]) -> None:
    """Write groups of tensors (`{"network": {...}, "best": {...}}`) and a JSON-able state, all at once.

    The checkpoint that lay there is kept beside it.
    """
    flat = {
        f"{group}/{name}": tensor.contiguous() for group, named in tensors.items() for name, tensor in named.items()
    }
    with replacing(path) as temporary:
        save_file(flat, temporary, metadata={"state": json.dumps(state)})
        if path.exists():
            os.replace(path, _before(path))


def newest_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]] | None:
    """Read what `save_checkpoint` wrote last; of what was cut off, by a loss of power say, the one before it.

    None where there is neither.
    """
    for file in filter(Path.exists, (path, _before(path))):
        try:
            return load_checkpoint(file)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            print(f"warning: {file}: no whole checkpoint ({error}); trying the one before it", file=sys.stderr)
    return None


def _before(path: Path) -> Path:
    return path.with_suffix(".before.safetensors")


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read one file of `save_checkpoint`'s. Raises SafetensorError, or JSON's errors, for a damaged one."""
    tensors: Tensors = {}
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            group, name = key.split("/", 1)
            tensors.setdefault(group, {})[name] = file.get_tensor(key)
    return tensors, state


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's moments and step counts by parameter index, as named tensors.

    Not from `state_dict()`, where bitsandbytes hides its moments in a dictionary of its own. A tensor that several
    parameters share, as its tables of quantisation are, is copied: safetensors holds each under one name.
    """
    tensors: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for index, parameter in enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]):
        for name, value in optimizer.state.get(parameter, {}).items():
            tensor = torch.as_tensor(value)
            tensors[f"{index}.{name}"] = tensor.clone() if tensor.data_ptr() in taken else tensor
            taken.add(tensor.data_ptr())
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    moments: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # bitsandbytes counts its steps by a Python number, torch by a float's tensor.
        is_number = value.dim() == 0 and not value.is_floating_point()
        moments.setdefault(int(index), {})[name] = value.item() if is_number else value
    state = optimizer.state_dict()
    state["state"] = moments
    optimizer.load_state_dict(state)


def copied_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the network's weights and buffers that later updates leave alone."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
