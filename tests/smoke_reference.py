"""Compare a run at smoke size with the committed one, within stated tolerances: a machine's processor may differ.

`python -m tests.smoke_reference check FOLDER` prints where the run in FOLDER differs too much, and exits with 1.
`python -m tests.smoke_reference write FOLDER` makes that run the reference, after a change that is meant to change it.

Outputs of stages that dvc.yaml marks `meta.bits: same` must have the same md5; numbers in metrics/*.json must agree
within the tolerance of the first pattern that fits their name.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from stages.formats.files import read_json, write_json
from stages.tracking.mlflow_store import numbers
from stages.tracking.revisions import lock_hashes

REFERENCE = Path(__file__).parent / "golden" / "smoke.json"
NOT_METRICS = {"machines", "study", "study_esc10", "benchmarks"}  # none is an output of the pipeline
# (pattern, absolute, relative): processors with and without AVX2 and AVX-512, 1 and 2 threads, stay well within.
TOLERANCES = [
    (r".*best_(epoch|stage)", 5.0, 0.0),  # curves are flat at this size: any epoch may be the best
    (r".*(updates|epoch|stage|pairs|accepted|rejected|parameters|clips|chance|conclusive)$", 0.0, 0.0),
    (r".*(accuracy|recall|adherence|probe|ratio).*", 0.15, 0.0),  # shares of a few clips: one more, one less
    (r".*", 0.002, 0.02),
]


def read_run(folder: Path) -> dict[str, Any]:
    """Return `{"same": {path: md5}, "metrics": {name: value}}` of a pipeline that has run in `folder`."""
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lock = lock_hashes((folder / "dvc.lock").read_text(encoding="utf-8"), "outs")
    same = {
        path: md5
        for stage, outputs in lock.items()
        if pipeline[stage]["meta"]["bits"] == "same"
        for path, md5 in outputs.items()
    }
    files = {path.stem: read_json(path) for path in sorted((folder / "metrics").glob("*.json"))}
    metrics = numbers({name: values for name, values in files.items() if name not in NOT_METRICS})
    return {"same": same, "metrics": metrics}


def complaints(run: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    """Return one line for each output or metric of `run` that is not what `reference` allows."""
    lines = [
        f"{path}: md5 {run['same'].get(path)}, expected {md5}; its stage writes the same bytes on every processor"
        for path, md5 in reference["same"].items()
        if run["same"].get(path) != md5
    ]
    there, expected = run["metrics"], reference["metrics"]
    lines += [f"{name}: in one of run and reference only" for name in sorted(set(there) ^ set(expected))]
    for name in sorted(set(there) & set(expected)):
        room = tolerance(name, expected[name])
        if abs(there[name] - expected[name]) > room:
            lines.append(f"{name}: {there[name]:g}, expected {expected[name]:g} within {room:g}")
    return lines


def tolerance(name: str, value: float) -> float:
    """How far a metric may be from the reference's value."""
    absolute, relative = next((room for pattern, *room in TOLERANCES if re.fullmatch(pattern, name)), (0.0, 0.0))
    return absolute + relative * abs(value)


def main(action: str, folder: str) -> None:
    """Check or write; see the module's docstring."""
    run = read_run(Path(folder))
    if action == "write":
        write_json(REFERENCE, run)
        return
    lines = complaints(run, json.loads(REFERENCE.read_text(encoding="utf-8")))
    agreed = f"{len(run['metrics'])} metrics and {len(run['same'])} outputs agree with {REFERENCE.name}"
    print("\n".join(lines) or agreed)
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
