"""Weights into a network: each has its place and each place is filled, or what is amiss is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

SHOWN = 3
# Buffers of constant numbers that older versions of transformers saved.
STRAY = ("position_ids",)


def fitted(network: nn.Module, weights: Mapping[str, Tensor], origin: str | Path) -> dict[str, Tensor]:
    """The weights as `network.load_state_dict` takes them: each has its place and each place is filled.

    The network may lie on torch's meta device: only its names, shapes and types are looked at. `position_ids` are let
    through. Raises ValueError that names what is missing, unknown or of another shape.
    """
    wanted = network.state_dict()
    given = {name: value for name, value in weights.items() if name in wanted or not name.endswith(STRAY)}
    misshapen = [name for name in given if name in wanted and given[name].shape != wanted[name].shape]
    shapes = [f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}" for name in misshapen]
    complaints = {
        "missing": [name for name in wanted if name not in given],
        "unknown": [name for name in given if name not in wanted],
        "of another shape": shapes,
    }
    found = [f"{len(names)} {what} ({some(names)})" for what, names in complaints.items() if names]
    if found:
        raise ValueError(f"{origin}: weights that do not fit: {'; '.join(found)}; is it the checkpoint that was meant?")
    return {name: given[name].to(wanted[name].dtype) for name in wanted}


def load_exactly(network: nn.Module, weights: Mapping[str, Tensor], origin: str | Path) -> None:
    """Put `weights` into `network`, or raise ValueError as `fitted` does."""
    network.load_state_dict(fitted(network, weights, origin))


def shape_of(weights: Mapping[str, Tensor], name: str, sides: int, origin: str | Path, kind: str) -> tuple[int, ...]:
    """The shape of one weight, to read sizes off before there is a network to hold it against.

    Raises ValueError where it is missing, has other than `sides` sides, or is empty; `kind` is the network's, for the
    message.
    """
    if name not in weights:
        raise ValueError(f"{origin}: no weight named {name}, so no {kind}")
    shape = tuple(weights[name].shape)
    if len(shape) != sides or 0 in shape:
        raise ValueError(
            f"{origin}: {name} is of shape {list(shape)}; a {kind} has {sides} sides there, none of them 0"
        )
    return shape


def without_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, under the rest of their names, in single precision."""
    return {name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)}


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
