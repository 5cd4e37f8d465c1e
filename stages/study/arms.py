"""An arm of the study: what it trains and what it changes of params.yaml, as `studies/arms/<arm>.yaml` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from ruamel.yaml import YAML

from stages.params.schema import Params, load_params
from stages.params.section import Section

ARMS = Path("studies/arms")
RESULTS = Path("studies/results")
REFERENCES = RESULTS / "references.json"
OWN = "own"  # clips of the captions themselves, not of swapped ones
Swap = Literal["image", "text", "both"]


class Arm(Section):
    """One arm.

    experiment: `a`, `b`, or `reference`: the U-Net with CLAP's own tokens.
    changes: values of params.yaml by their keys, `train_b.linear_path: true`.
    unet_updates: trains the U-Net under the arm's own contexts for as many updates as A's second stage does.
    swaps: makes the test clips again with the image, the text part or both of another caption.
    """

    experiment: Literal["a", "b", "reference"]
    changes: dict[str, Any]
    unet_updates: bool
    swaps: list[Swap]


def load_arm(name: str) -> Arm:
    """Read an arm. Raises ValueError where there is no such file or it holds something else."""
    path = ARMS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in ARMS.glob("*.yaml")))
        raise ValueError(f"{name}: no such arm; {ARMS} has {known}")
    try:
        return Arm.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


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
            place = place.get(section, {})
        if last not in place:
            raise ValueError(f"{key}: unknown key of params.yaml; mend the arm's changes")
        place[last] = value
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; mend the arm's changes") from None
