"""Weights from a file: safetensors or torch's format, of which no code is run; all of them finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.weights.fitting import some
from stages.weights.pickles import read_pickle


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
    named = content if isinstance(content, Mapping) else {}
    weights = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"{path}: holds no weights by name; is this the checkpoint and not something beside it?")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not _is_sound(name, value)]
    if broken:
        raise ValueError(f"{path}: weights that are not finite: {some(broken)}; get the file again")
    return weights


def only_one(folder: str | Path, names: Sequence[str]) -> Path:
    """The one file of these names in the folder. Raises ValueError for none and for several."""
    found = [Path(folder) / name for name in names if (Path(folder) / name).is_file()]
    if not found:
        none = f"neither {' nor '.join(names)}" if len(names) == 2 else f"none of {', '.join(names)}"
        raise ValueError(f"{folder}: {none} there; `bind-an-audio weights` says where to get them")
    if len(found) > 1:
        raise ValueError(f"{folder}: {' and '.join(path.name for path in found)} there; keep the one to use")
    return found[0]


def _is_sound(name: str, value: Tensor) -> bool:
    """Every number finite; an attention mask, which some checkpoints carry, may hold minus infinity."""
    if name.endswith(".mask"):
        value = value[value != float("-inf")]
    return bool(value.isfinite().all())


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
