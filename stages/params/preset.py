"""Which corpus and preset a run's params name, and what was changed in the preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
LONGEST = 5000  # MLflow refuses tags of more than 8000 letters


def corpus_and_preset(
    params: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]], committed: Mapping[str, Any]
) -> dict[str, str]:
    """The MLflow tags `corpus`, `preset` and `preset_changes` of flat `params`.

    The baseline's `committed` params count as the preset "default", and as the nearest among equally near ones only
    after the named `presets`.
    """
    preset, changes = nearest_preset(params, {**presets, DEFAULT: committed})
    corpus = str(params.get("prepare.corpus", "none"))
    return {"corpus": corpus, "preset": preset, "preset_changes": in_words(changes)}


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
