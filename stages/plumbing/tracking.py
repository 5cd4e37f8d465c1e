"""MLflow tracking: what a stage was given and what came out, one child run per execution of a stage.

Layout of the store. The MLflow experiment `bind-an-audio` holds one parent run per (DVC experiment name, baseline
commit, digest of params.yaml), so that all stages of one pipeline run meet under one parent, also when they are run by
several `dvc repro`s or by queue workers. Plain `dvc repro` and a stage started by hand count as the experiment
`workspace`. The parent carries the whole of params.yaml and the newest metrics of its stages; each child carries its
stage's params, metrics, curves and the md5 of every dependency.

Environment: `MLFLOW_TRACKING_URI` wins over the default, `sqlite:///<root>/mlflow.db`, where root is DVC's root (the
user's repository, also in DVC's temporary folders); `BIND_AN_AUDIO_TRACKING=off` logs nothing.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from stages.plumbing.dependencies import content_md5, stage_entry
from stages.plumbing.params import Params

STAGES_EXPERIMENT = "bind-an-audio"
WORKSPACE = "workspace"
LOCK_SECONDS = 120.0
STEP_COLUMNS = ("epoch", "epochs", "update", "updates", "step")


def log_stage(
    stage: str,
    params: BaseModel | Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Log one finished execution of a stage; a stage calls it once, after its outputs are in place.

    MLflow that cannot be reached costs one warning line, never the stage.

    Args:
        stage: the stage's name in dvc.yaml.
        params: a section of params.yaml, or a mapping of section names to sections; keys become `train_b.epochs`.
        metrics: numbers, nested or flat; nested keys are joined with dots.
        curves: tables by name; a column called epoch or updates gives the step, each other column becomes the metric
            `<name>/<column>`.
    """
    if os.environ.get("BIND_AN_AUDIO_TRACKING", "").lower() == "off":
        return
    try:
        with tracking_client(repository_root()) as client:
            _log_stage(client, stage, params, metrics, curves or {})
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: {stage} is done, but MLflow did not take its run: {reason[:300]}", file=sys.stderr)


def repository_root() -> Path:
    """Return the folder that holds MLflow's store: DVC's root, or the nearest parent with `.dvc`, or this folder."""
    if os.environ.get("DVC_ROOT"):
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def tracking_uri(root: Path) -> str:
    """Return MLflow's address: `MLFLOW_TRACKING_URI`, or the SQLite file in `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


@contextmanager
def tracking_client(root: Path) -> Iterator[Any]:
    """Yield an MlflowClient that no other process of this repository uses at the same time.

    The lock covers the making and migrating of a fresh database, looking up a parent before it is made, and SQLite's
    own limit of one writer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from filelock import FileLock
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    lock = root / ".cache" / "tracking.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock, timeout=LOCK_SECONDS):
        yield MlflowClient(tracking_uri(root))


def mlflow_experiment(client: Any, name: str, root: Path) -> str:
    """Return the id of the MLflow experiment `name`, made where it is missing."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # A server knows where its artifacts belong; the local default would be relative to the working folder.
    beside = None if os.environ.get("MLFLOW_TRACKING_URI") else (root / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=beside))


def log_in_batches(
    client: Any,
    run_id: str,
    params: Mapping[str, str],
    metrics: Iterable[tuple[str, float, int]],
    tags: Mapping[str, str],
) -> None:
    """Log params, metrics `(key, value, step)` and tags in as few calls as MLflow's limits allow."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    param_rows = [Param(key, value) for key, value in params.items()]
    metric_rows = [Metric(key, value, now, step) for key, value, step in metrics]
    tag_rows = [RunTag(key, value) for key, value in tags.items()]
    while param_rows or metric_rows or tag_rows:
        client.log_batch(run_id, metrics=metric_rows[:800], params=param_rows[:100], tags=tag_rows[:100])
        metric_rows, param_rows, tag_rows = metric_rows[800:], param_rows[100:], tag_rows[100:]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys with dots: `{"a": {"b": 1}}` becomes `{"a.b": 1}`; sections of params.yaml count as mappings."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Flatten `values` and keep what is a number."""
    return {key: float(value) for key, value in flatten(values).items() if isinstance(value, (int, float))}


def dependency_hashes(stage: str) -> dict[str, str]:
    """Return path -> md5 of the dependencies that dvc.yaml names for `stage`; none where there is no such entry."""
    try:
        return {name: content_md5(Path(name)) for name in stage_entry(stage).get("deps", [])}
    except (FileNotFoundError, ValueError):
        return {}


def _log_stage(
    client: Any,
    stage: str,
    params: BaseModel | Mapping[str, Any],
    metrics: Mapping[str, Any],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    import psutil

    root, here = repository_root(), Path.cwd()
    origin = _origin(here)
    experiment_id = mlflow_experiment(client, STAGES_EXPERIMENT, root)
    parent_id = _parent(client, experiment_id, origin, here)
    dependencies = {f"dep.{name}": md5 for name, md5 in dependency_hashes(stage).items()}
    child = client.create_run(
        experiment_id,
        start_time=int(psutil.Process().create_time() * 1000),
        run_name=stage,
        tags={"stage": stage, "kind": "stage", "mlflow.parentRunId": parent_id, **origin},
    )
    flat_metrics = numbers(metrics)
    points = [(key, value, 0) for key, value in flat_metrics.items()]
    log_in_batches(
        client, child.info.run_id, _strings(_with_section(params)), [*points, *_curve_points(curves)], dependencies
    )
    client.set_terminated(child.info.run_id)
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
    whole = yaml.safe_load(params_file.read_text(encoding="utf-8")) if params_file.exists() else {}
    log_in_batches(client, run.info.run_id, _strings(flatten(whole)), [], {})
    return str(run.info.run_id)


def _origin(folder: Path) -> dict[str, str]:
    """Say which DVC experiment, which baseline commit, and whether code or params differ from it."""
    baseline = os.environ.get("DVC_EXP_BASELINE_REV") or _git(folder, "rev-parse", "HEAD") or "none"
    # Outputs are left out: a running pipeline always changes those.
    changed = _git(folder, "status", "--porcelain", "--", "stages", "params.yaml", "dvc.yaml")
    return {
        "experiment": os.environ.get("DVC_EXP_NAME") or WORKSPACE,
        "baseline": baseline,
        "dirty": "yes" if changed else "no",
    }


def _git(folder: Path, *arguments: str) -> str:
    """Return what git prints, or "" where there is no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _with_section(params: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Flatten to the keys of params.yaml: a bare section is put under its own name there."""
    if isinstance(params, Params):
        return flatten(params.model_dump())
    if isinstance(params, BaseModel):
        section = next(name for name, field in Params.model_fields.items() if field.annotation is type(params))
        return flatten({section: params})
    return flatten(params)


def _strings(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _curve_points(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, float, int]]:
    """Turn tables into stepped metrics; a table without a step column is counted by its rows."""
    for name, rows in curves.items():
        for number, row in enumerate(rows):
            column = next((key for key in STEP_COLUMNS if key in row), None)
            step = int(row[column]) if column else number
            for key, value in row.items():
                if key != column and isinstance(value, (int, float)):
                    yield f"{name}/{key}", float(value), step
