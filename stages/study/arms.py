"""An arm of the study: what it trains and what it changes of params.yaml, as `studies/arms.yaml` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from stages.params.schema import Params, checked, load_params
from stages.params.section import Section

ARMS = Path("studies/arms.yaml")
RESULTS = Path("studies/results")
REFERENCES = RESULTS / "references.json"
OWN = "own"  # clips of the captions themselves, not of swapped ones
Swap = Literal["image", "text", "both"]


class Arm(Section):
    """One arm; `studies/arms.yaml` says what its keys mean."""

    experiment: Literal["a", "b", "reference"]
    changes: dict[str, Any] = Field(default_factory=dict)
    unet_updates: bool = False
    swaps: list[Swap] = Field(default_factory=list)


def load_arms() -> dict[str, Arm]:
    """Read all arms. Raises ValueError for one that holds something else."""
    try:
        return TypeAdapter(dict[str, Arm]).validate_python(YAML(typ="safe").load(ARMS.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{ARMS}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def load_arm(name: str) -> Arm:
    """Read an arm. Raises ValueError where there is no such arm."""
    arms = load_arms()
    if name not in arms:
        raise ValueError(f"{name}: no such arm; {ARMS} has {', '.join(arms)}")
    return arms[name]


def arm_params(arm: Arm, seed: int, path: str | Path = "params.yaml") -> Params:
    """params.yaml as the arm wants it: one take a caption, `seed` for training and for the noise that clips start from.

    Raises ValueError for a change of a key that does not exist or to a value that is none.
    """
    values = load_params(path).model_dump()
    seeds = {f"{section}.seed": seed for section in ("train_a", "train_b", "sample")}
    for key, value in {"sample.clips_per_caption": 1, **seeds, **arm.changes}.items():
        *sections, last = key.split(".")
        place: Any = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    try:
        return checked(values)
    except ValueError as error:
        raise ValueError(f"{error}; mend the arm's changes") from None
