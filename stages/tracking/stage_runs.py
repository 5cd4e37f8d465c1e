"""MLflow tracking: what a stage was given and what came out, one child run per execution of a stage.

Layout of the store. The MLflow experiment `bind-an-audio` holds one parent run per (DVC experiment name, baseline
commit, digest of params.yaml), so that all stages of one pipeline run meet under one parent, also when they are run by
several `dvc repro`s or by queue workers. Plain `dvc repro` and a stage started by hand count as the experiment
`workspace`. The parent carries the whole of params.yaml and the newest metrics of its stages; each child carries its
stage's params, metrics, curves and the datasets that it read. A training stage that was killed and goes on from its
checkpoint goes on in the same child run.

Tags of both: `experiment`, `baseline`, `dirty`, `corpus`, `preset`, `preset_changes`, `machine`; of a child also
`stage`, `process` and `outputs`, one digest by which `bind-an-audio sync` finds the run that made a commit's outputs.
The md5 of every dependency and output lies in its artifact `dvc.json`.

Environment: `MLFLOW_TRACKING_URI` names another store; `BIND_AN_AUDIO_TRACKING=off` logs nothing.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stages.plumbing.live import tell
from stages.tracking.dependencies import content_md5, read_and_written
from stages.tracking.machines import in_words, outputs_digest, peak_memory, record_machine, this_machine
from stages.tracking.mlflow_store import (
    flatten,
    log_datasets,
    log_in_batches,
    mlflow_experiment,
    numbers,
    reason,
    repository_root,
    search_all,
    tracking_client,
)
from stages.tracking.revisions import corpus_and_preset, flat_params, git, git_file, text_of

STAGES_EXPERIMENT = "bind-an-audio"
WORKSPACE = "workspace"
STEP_COLUMNS = ("epoch", "epochs", "update", "updates", "step")

MetricPoint = tuple[str, float, int]


def log_stage(
    stage: str, metrics: Mapping[str, Any], curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
) -> None:
    """Log one finished execution of a stage; a stage calls it once, after its outputs are in place.

    Params, dependencies and outputs are those that dvc.yaml names. Which machine made the outputs is noted in
    `metrics/machines.json` in any case. MLflow that cannot be reached costs one warning line, never the stage.

    Args:
        stage: the stage's name in dvc.yaml.
        metrics: numbers, nested or flat; nested keys are joined with dots. The process's `peak_memory` is added.
        curves: tables by name; a column called epoch or updates gives the step, each other column becomes the metric
            `<name>/<column>`.
    """
    inputs, outputs = read_and_written(stage)
    machine = this_machine()
    if outputs:
        record_machine(stage, outputs, machine)
    if os.environ.get("BIND_AN_AUDIO_TRACKING", "").lower() == "off":
        return
    points = [(key, value, 0) for key, value in (numbers(metrics) | peak_memory()).items()]
    points += [point for name, rows in (curves or {}).items() for point in curve_points(name, rows)]
    done: dict[str, Any] = {
        "params": flatten(inputs["params"]),
        "points": points,
        "dependencies": inputs["deps"],
        "outputs": outputs,
        "machine": in_words(machine),
    }
    if tell(done=done):
        return
    try:
        with tracking_client(repository_root()) as client:
            run = StageRun(client, stage, os.getpid())
            run.finish(client, **done)
            run.end(client, "FINISHED")
    except Exception as error:
        print(f"warning: {stage} is done, but MLflow did not take its run: {reason(error)}", file=sys.stderr)


class StageRun:
    """The MLflow run of one execution of a stage. Each method takes a client that `tracking_client` gave."""

    def __init__(self, client: Any, stage: str, process: int) -> None:
        """Make the run under its parent, dated from the start of the process that runs the stage."""
        here = Path.cwd()
        origin = _origin(here)
        self.stage, self.logged = stage, set[tuple[str, int]]()  # metric and step
        self.experiment_id = mlflow_experiment(client, STAGES_EXPERIMENT, repository_root())
        self.parent_id = _parent(client, self.experiment_id, origin, here)
        for run in search_all(client, self.experiment_id, "tags.kind = 'stage' and attributes.status = 'RUNNING'"):
            if not _is_alive(run):  # a power cut, say, left nobody to mark it
                client.set_terminated(run.info.run_id, "KILLED")
        try:
            began = psutil.Process(process).create_time()
        except psutil.NoSuchProcess:
            began = psutil.Process().create_time()
        tags = {"stage": stage, "kind": "stage", "mlflow.parentRunId": self.parent_id, **origin}
        run = client.create_run(
            self.experiment_id,
            start_time=int(began * 1000),
            run_name=f"{stage} {origin['experiment']} {origin['baseline'][:7]}",
            tags=tags | {"process": f"{socket.gethostname()} {process}"},
        )
        self.run_id: str = run.info.run_id

    def resume(self, client: Any, inputs: str) -> None:
        """Go on in the run that was killed or failed with the same inputs (a digest), where there is one."""
        query = f"tags.stage = '{self.stage}' and tags.inputs = '{inputs}' and attributes.status != 'FINISHED'"
        dead = [run for run in client.search_runs([self.experiment_id], query, max_results=9) if not _is_alive(run)]
        if dead and dead[0].info.run_id != self.run_id:
            process = client.get_run(self.run_id).data.tags["process"]
            client.delete_run(self.run_id)
            self.run_id = dead[0].info.run_id
            client.update_run(self.run_id, status="RUNNING")
            client.set_tag(self.run_id, "process", process)
            for key in (key for key in dead[0].data.metrics if not key.startswith("system/")):
                self.logged |= {(key, point.step) for point in client.get_metric_history(self.run_id, key)}
        client.set_tag(self.run_id, "inputs", inputs)

    def add(self, client: Any, points: Iterable[MetricPoint]) -> None:
        """Log points `(metric, value, step)`, those left out that the run has already."""
        new = [(key, value, step) for key, value, step in points if (key, step) not in self.logged]
        log_in_batches(client, self.run_id, {}, new, {})
        self.logged |= {(key, step) for key, _, step in new}

    def finish(
        self,
        client: Any,
        params: Mapping[str, Any],
        points: Iterable[MetricPoint],
        dependencies: Mapping[str, str],
        outputs: Mapping[str, str],
        machine: str,
    ) -> None:
        """Log what `log_stage` was given, beside the points that are there already."""
        points = [(str(key), float(value), int(step)) for key, value, step in points]
        self.add(client, points)
        tags = {"machine": machine, "outputs": outputs_digest(outputs)} if outputs else {"machine": machine}
        log_in_batches(client, self.run_id, params, [], tags)
        log_datasets(client, self.run_id, dependencies)
        results = [(f"{self.stage}.{key}", value, 0) for key, value, _ in points if "/" not in key]
        # The parent shows the value with the latest date: also where the clock was put back, that is to be the newest.
        earlier = client.get_metric_history(self.parent_id, results[0][0]) if results else []
        earliest = 1 + max((point.timestamp for point in earlier), default=0)
        log_in_batches(client, self.parent_id, {}, results, {"machine": machine}, earliest)
        if outputs:
            client.log_dict(self.run_id, {"dependencies": dependencies, "outputs": outputs}, "dvc.json")

    def end(self, client: Any, status: str, why: str = "") -> None:
        """Mark the run `FINISHED`, `FAILED` or `KILLED`, with a reason as its description."""
        if why:
            client.set_tag(self.run_id, "mlflow.note.content", f"{status.lower()}: {why}")
        client.set_terminated(self.run_id, status)
        client.set_terminated(self.parent_id, status)


def runs_that_wrote(client: Any, outputs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Stage -> the newest run in MLflow that wrote these outputs (path -> md5) of it; no entry where none did."""
    experiment = client.get_experiment_by_name(STAGES_EXPERIMENT)
    if experiment is None:
        return {}
    found = {}
    for stage, hashes in outputs.items():
        query = f"tags.stage = '{stage}' and tags.outputs = '{outputs_digest(hashes)}'"
        if runs := client.search_runs([experiment.experiment_id], query, max_results=1):
            found[stage] = runs[0]
    return found


def curve_points(name: str, rows: Iterable[Mapping[str, Any]]) -> list[MetricPoint]:
    """Turn a table into stepped metrics; one without a step column is counted by its rows."""
    points = []
    for number, row in enumerate(rows):
        column = next((key for key in STEP_COLUMNS if key in row), None)
        step = int(row[column]) if column else number
        values = ((key, value) for key, value in row.items() if key != column and isinstance(value, (int, float)))
        points += [(f"{name}/{key}", float(value), step) for key, value in values]
    return points


def _is_alive(run: Any) -> bool:
    """Whether the process that writes a run still runs, as far as this machine can tell."""
    if run.info.status != "RUNNING":
        return False
    host, _, number = run.data.tags.get("process", "").rpartition(" ")
    return bool(host != socket.gethostname() or psutil.pid_exists(int(number)))


def _parent(client: Any, experiment_id: str, origin: Mapping[str, str], folder: Path) -> str:
    """Find or make the parent of this pipeline run; the client's lock keeps two workers from both making it."""
    params_file = folder / "params.yaml"
    digest = content_md5(params_file)
    wanted = {"kind": "pipeline", "params_md5": digest, "experiment": origin["experiment"]}
    wanted["baseline"] = origin["baseline"]
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in wanted.items())
    found = client.search_runs([experiment_id], query, max_results=1)
    if found:
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)
    name = f"{origin['experiment']} {origin['baseline'][:7]} {digest[:4]}"
    run = client.create_run(experiment_id, run_name=name, tags={**origin, **wanted})
    log_in_batches(client, run.info.run_id, flat_params(text_of(params_file)), [], {})
    return str(run.info.run_id)


def _origin(folder: Path) -> dict[str, str]:
    """Say which DVC experiment, which baseline and whether code or params differ from it, and which preset."""
    baseline, changed = os.environ.get("DVC_EXP_BASELINE_REV"), ""
    with suppress(ValueError):  # no git repository
        baseline = baseline or git("rev-parse", "HEAD", folder=folder)
        # Outputs are left out: a running pipeline always changes those.
        changed = git("status", "--porcelain", "--", "stages", "params.yaml", "dvc.yaml", folder=folder)
    params = flat_params(text_of(folder / "params.yaml"))
    presets = {path.stem: flat_params(text_of(path)) for path in sorted((folder / "presets").glob("*.yaml"))}
    return {
        "experiment": os.environ.get("DVC_EXP_NAME") or WORKSPACE,
        "baseline": baseline or "none",
        "dirty": "yes" if changed else "no",
        **corpus_and_preset(params, presets, flat_params(git_file("HEAD", "params.yaml", folder))),
    }
