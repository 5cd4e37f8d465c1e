"""`bind-an-audio show`: the metrics table of the last run, and where to look and listen."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.formats.files import read_json
from stages.tracking.machines import machine_sentence
from stages.tracking.mlflow_store import page_of_runs, repository_root, tracking_client
from stages.tracking.revisions import workspace_machines, workspace_outputs
from stages.tracking.stage_runs import STAGES_EXPERIMENT, runs_that_wrote

EVALUATION = Path("metrics/evaluation.json")
COMPARISON = Path("metrics/comparison.json")
LISTENING_PAGE = Path("metrics/listening/index.html")
SAMPLED_BY = {"reference": "sample_references", "experiment_a": "sample_a", "experiment_b": "sample_b"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def main(_: argparse.Namespace) -> None:
    """Print the table, whether it tells A from B, and where the listening page and MLflow's store are."""
    root = Path(os.path.relpath(repository_root()))
    print(table(read_json(root / EVALUATION)))
    print()
    if (root / COMPARISON).exists():
        from stages.evaluation.comparison import measured
        from stages.params.schema import load_params

        comparison = read_json(root / COMPARISON)
        if "captions" in comparison and (root / "params.yaml").exists():
            print(measured(comparison, load_params(root / "params.yaml")))
        print("\n".join(verdict(comparison)))
    print(machine_sentence(workspace_machines()))
    experiment, runs = None, dict[str, Any]()
    if os.environ.get("MLFLOW_TRACKING_URI") or (repository_root() / "mlflow.db").exists():
        # A store that does not answer is no trouble of the results.
        with suppress(ValueError), tracking_client(repository_root()) as client:
            experiment = client.get_experiment_by_name(STAGES_EXPERIMENT)
            runs = runs_that_wrote(client, workspace_outputs())
    for line in sampling(runs):
        print(line)
    missing = "" if (root / LISTENING_PAGE).exists() else " (not here yet: `dvc repro` writes it)"
    print(f"Listening page: {root / LISTENING_PAGE}{missing}")
    print(f"MLflow: {page_of_runs(repository_root(), experiment and experiment.experiment_id)}")


def sampling(runs: Mapping[str, Any]) -> list[str]:
    """How fast the systems' clips were made and in how much memory, one line; none where no stage's run knows it."""
    told = []
    for system, stage in SAMPLED_BY.items():
        metrics = runs[stage].data.metrics if stage in runs else {}
        if factor := metrics.get(f"{system}_real_time_factor"):
            memory = f"{metrics['peak_memory_gigabytes']:.1f} GB"
            if "peak_gpu_memory_gigabytes" in metrics:
                memory += f" and {metrics['peak_gpu_memory_gigabytes']:.1f} of the GPU's"
            told.append(f"{system} {1 / factor:.1f} s (real-time factor {factor:.2g}; {memory} at most)")
    return [f"Audio sampled in a second: {', '.join(told)}."] if told else []


def verdict(comparison: Mapping[str, Any]) -> list[str]:
    """Say whether anything about A against B follows from the run, and why not."""
    told, reasons = "Not conclusive: nothing about A against B follows from this run.", "doubts"
    if comparison.get("conclusive"):
        told = "Conclusive: the towers carry the truth, and real clips and reference stand clear of the floor, so this"
        told, reasons = f"{told} run can tell A from B (metrics/comparison.json). What it cannot:", "limits"
    return [told, *(f"- {reason}" for reason in comparison.get(reasons, []))]


def table(evaluation: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out `{system: {metric: value}}` as aligned text; `-` where a metric has no value."""
    columns = list(dict.fromkeys(name for metrics in evaluation.values() for name in metrics))
    lines = [["system", *columns]]
    for system, metrics in evaluation.items():
        lines.append([system, *(f"{metrics[name]:.3f}" if name in metrics else "-" for name in columns)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )
