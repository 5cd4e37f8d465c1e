"""MLflow tracking: what a stage was given and what came out, one child run per execution of a stage.

Layout of the store. The MLflow experiment `bind-an-audio` holds one parent run per (DVC experiment name, baseline
commit, digest of params.yaml), so that all stages of one pipeline run meet under one parent, also when they are run by
several `dvc repro`s or by queue workers. Plain `dvc repro` and a stage started by hand count as the experiment
`workspace`. The parent carries the whole of params.yaml and the newest metrics of its stages; each child carries its
stage's params, metrics, curves, the md5 of every dependency and output, and the datasets that it read.

Tags of both: `experiment`, `baseline`, `dirty`, `corpus`, `preset`, `preset_changes`, `processor`, `instructions`,
`threads`; of a child also `stage`, `dep.<path>`, `out.<path>` and `outputs`, one digest by which `bind-an-audio sync`
finds the run that made a commit's outputs.

Environment: `MLFLOW_TRACKING_URI` names another store; `BIND_AN_AUDIO_TRACKING=off` logs nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from stages.params.preset import corpus_and_preset
from stages.params.schema import Params
from stages.tracking.dependencies import content_md5, read_and_written
from stages.tracking.machines import outputs_digest, record_machine, this_machine
from stages.tracking.mlflow_store import (
    flatten,
    log_datasets,
    log_in_batches,
    mlflow_experiment,
    numbers,
    reason,
    repository_root,
    strings,
    tracking_client,
)
from stages.tracking.revisions import flat_params, git, git_file

STAGES_EXPERIMENT = "bind-an-audio"
WORKSPACE = "workspace"
STEP_COLUMNS = ("epoch", "epochs", "update", "updates", "step")


def log_stage(
    stage: str,
    params: BaseModel | Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Log one finished execution of a stage; a stage calls it once, after its outputs are in place.

    Which machine made the outputs is noted in `metrics/machines.json` in any case. MLflow that cannot be reached costs
    one warning line, never the stage.

    Args:
        stage: the stage's name in dvc.yaml.
        params: a section of params.yaml, or a mapping of section names to sections; keys become `train_b.epochs`.
        metrics: numbers, nested or flat; nested keys are joined with dots.
        curves: tables by name; a column called epoch or updates gives the step, each other column becomes the metric
            `<name>/<column>`.
    """
    dependencies, outputs = read_and_written(stage)
    if outputs:
        record_machine(stage, outputs)
    if os.environ.get("BIND_AN_AUDIO_TRACKING", "").lower() == "off":
        return
    try:
        with tracking_client(repository_root()) as client:
            _log_stage(client, stage, params, metrics, curves or {}, dependencies, outputs)
    except Exception as error:
        print(f"warning: {stage} is done, but MLflow did not take its run: {reason(error)}", file=sys.stderr)


def _log_stage(
    client: Any,
    stage: str,
    params: BaseModel | Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    dependencies: Mapping[str, str],
    outputs: Mapping[str, str],
) -> None:
    import psutil

    root, here = repository_root(), Path.cwd()
    origin = _origin(here)
    experiment_id = mlflow_experiment(client, STAGES_EXPERIMENT, root)
    parent_id = _parent(client, experiment_id, origin, here)
    hashes = {f"dep.{name}": md5 for name, md5 in dependencies.items()}
    hashes |= {f"out.{name}": md5 for name, md5 in outputs.items()}
    child = client.create_run(
        experiment_id,
        start_time=int(psutil.Process().create_time() * 1000),
        run_name=stage,
        tags={"stage": stage, "kind": "stage", "mlflow.parentRunId": parent_id, **origin},
    )
    run_id = child.info.run_id
    flat_metrics = numbers(metrics)
    points = [(key, value, 0) for key, value in flat_metrics.items()]
    log_in_batches(client, run_id, strings(_with_section(params)), [*points, *_curve_points(curves)], hashes)
    log_datasets(client, run_id, dependencies)
    if outputs:
        client.set_tag(run_id, "outputs", outputs_digest(outputs))
    client.set_terminated(run_id)
    log_in_batches(client, parent_id, {}, ((f"{stage}.{key}", value, 0) for key, value in flat_metrics.items()), {})
    client.set_terminated(parent_id)


def _parent(client: Any, experiment_id: str, origin: Mapping[str, str], folder: Path) -> str:
    """Find or make the parent of this pipeline run; the client's lock keeps two workers from both making it."""
    params_file = folder / "params.yaml"
    digest = content_md5(params_file)
    wanted = {"kind": "pipeline", "params_md5": digest, "experiment": origin["experiment"]}
    wanted["baseline"] = origin["baseline"]
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in wanted.items())
    found = client.search_runs([experiment_id], query, max_results=1)
    if found:
        return str(found[0].info.run_id)
    name = f"{origin['experiment']} {origin['baseline'][:7]} {digest[:4]}"
    run = client.create_run(experiment_id, run_name=name, tags={**origin, **wanted})
    log_in_batches(client, run.info.run_id, strings(flat_params(_read(params_file))), [], {})
    return str(run.info.run_id)


def _origin(folder: Path) -> dict[str, str]:
    """Say which DVC experiment, which baseline and whether code or params differ from it, which preset and machine."""
    baseline, changed = os.environ.get("DVC_EXP_BASELINE_REV"), ""
    with suppress(ValueError):  # no git repository
        baseline = baseline or git("rev-parse", "HEAD", folder=folder)
        # Outputs are left out: a running pipeline always changes those.
        changed = git("status", "--porcelain", "--", "stages", "params.yaml", "dvc.yaml", folder=folder)
    params = flat_params(_read(folder / "params.yaml"))
    presets = {path.stem: flat_params(_read(path)) for path in sorted((folder / "presets").glob("*.yaml"))}
    return {
        "experiment": os.environ.get("DVC_EXP_NAME") or WORKSPACE,
        "baseline": baseline or "none",
        "dirty": "yes" if changed else "no",
        **corpus_and_preset(params, presets, flat_params(git_file("HEAD", "params.yaml", folder))),
        **this_machine(),
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _with_section(params: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Flatten to the keys of params.yaml: a bare section is put under its own name there."""
    if isinstance(params, Params):
        return flatten(params.model_dump())
    if isinstance(params, BaseModel):
        # A section whose `source` decides its type is a union of two.
        kinds = {name: get_args(field.annotation) or (field.annotation,) for name, field in Params.model_fields.items()}
        section = next(name for name, types in kinds.items() if type(params) in types)
        return flatten({section: params})
    return flatten(params)


def _curve_points(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, float, int]]:
    """Turn tables into stepped metrics; a table without a step column is counted by its rows."""
    for name, rows in curves.items():
        for number, row in enumerate(rows):
            column = next((key for key in STEP_COLUMNS if key in row), None)
            step = int(row[column]) if column else number
            for key, value in row.items():
                if key != column and isinstance(value, (int, float)):
                    yield f"{name}/{key}", float(value), step
