"""Weights from a file and into a network: all of them, of the right shapes, finite; whatever is amiss is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stages.pretrained.pickles import read_pickle

SHOWN = 3
# Buffers of constant numbers that older versions of transformers saved.
STRAY = ("position_ids",)


def read_weights(path: str | Path, within: Sequence[str] = ()) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: safetensors, or torch's format, of which no code is run.

    Args:
        path: of the file; `.safetensors`, or any other name for torch's format.
        within: keys to go down by, as far as the file has them: `("state_dict",)`, `("generator",)`.

    Raises:
        ValueError: no such file, cut short, no weights, not finite, a pickle with code in it; one line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `bind-an-audio weights` says where it comes from and where to put it")
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    for key in within:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds no weights by name; is this the checkpoint and not something beside it?")
    weights = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"{path}: holds no weights by name; is this the checkpoint and not something beside it?")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path}: weights that are not finite: {some(broken)}; get the file again")
    return weights


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


def without_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, under the rest of their names, in single precision."""
    return {name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        size = path.stat().st_size / 1e6
        raise ValueError(
            f"{path}: no safetensors file, or one cut short after {size:.1f} MB ({error}); get it again"
        ) from None


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
