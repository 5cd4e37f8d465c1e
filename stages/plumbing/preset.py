"""Which preset a run's params come from, and what was changed in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
LONGEST = 5000  # MLflow refuses tags of more than 8000 letters


def nearest_preset(params: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the preset that differs from `params` in the fewest keys, and the params that differ from it.

    Args:
        params: flat, `train_b.epochs` -> 20.
        presets: by name, each flat; of equally near ones the first counts.
    """
    if not presets:
        return DEFAULT, {}
    changes = {
        name: {key: params.get(key) for key in {*params, *preset} if params.get(key) != preset.get(key)}
        for name, preset in presets.items()
    }
    name = min(changes, key=lambda preset: len(changes[preset]))
    return name, dict(sorted(changes[name].items()))


def in_words(changes: Mapping[str, Any]) -> str:
    """`train_b.epochs=20 train_b.seed=2`, as `dvc exp run -S` takes them; "none" where nothing was changed."""
    return (" ".join(f"{key}={value}" for key, value in changes.items()) or "none")[:LONGEST]
