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
from stages.tracking.mlflow_store import page_of, repository_root, tracking_client
from stages.tracking.revisions import workspace_machines, workspace_outputs
from stages.tracking.stage_runs import STAGES_EXPERIMENT, runs_that_wrote

EVALUATION = Path("metrics/evaluation.json")
COMPARISON = Path("metrics/comparison.json")
LISTENING_PAGE = Path("metrics/listening/index.html")
SAMPLED_BY = {"reference": "sample_references", "experiment_a": "sample_a", "experiment_b": "sample_b"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how the table is laid out."""
    parser.add_argument("--markdown", action="store_true", help="print the table alone, as Markdown")


def main(arguments: argparse.Namespace) -> None:
    """Print the table, whether it tells A from B, and where the listening page and MLflow's store are."""
    root = Path(os.path.relpath(repository_root()))
    rows = cells(read_json(root / EVALUATION))
    if arguments.markdown:
        print(markdown(rows))
        return
    print(table(rows))
    print()
    if (root / COMPARISON).exists():
        from stages.evaluation.comparison import measured
        from stages.params.schema import load_params

        comparison = read_json(root / COMPARISON)
        if "captions" in comparison and (root / "params.yaml").exists():
            print(measured(comparison, load_params(root / "params.yaml")))
        print("\n".join(verdict(comparison)))
    print(machine_sentence(workspace_machines()))
    for line in sampling(repository_root()):
        print(line)
    missing = "" if (root / LISTENING_PAGE).exists() else " (not here yet: `dvc repro` writes it)"
    print(f"Listening page: {root / LISTENING_PAGE}{missing}")
    print(f"MLflow: {page_of(repository_root(), STAGES_EXPERIMENT)}")


def sampling(root: Path) -> list[str]:
    """How fast the systems' clips were made and in how much memory, one line; none where MLflow does not know it."""
    outputs = {stage: hashes for stage, hashes in workspace_outputs().items() if stage in SAMPLED_BY.values()}
    if not outputs or not (os.environ.get("MLFLOW_TRACKING_URI") or (root / "mlflow.db").exists()):
        return []
    runs: dict[str, Any] = {}
    with suppress(ValueError), tracking_client(root) as client:  # a store that does not answer is no trouble of these
        runs = runs_that_wrote(client, outputs)
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


def cells(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """Turn `{system: {metric: value}}` into a heading and a row a system; `-` where a metric has no value."""
    systems = {name: metrics for name, metrics in evaluation.items() if isinstance(metrics, Mapping)}
    columns = list(
        dict.fromkeys(
            name for metrics in systems.values() for name, value in metrics.items() if isinstance(value, (int, float))
        )
    )
    lines = [["system", *columns]]
    for system, metrics in systems.items():
        values = (metrics.get(column) for column in columns)
        lines.append([system, *("-" if value is None else f"{value:.3f}" for value in values)])
    return lines


def table(lines: list[list[str]]) -> str:
    """Lay out rows as aligned text."""
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def markdown(lines: list[list[str]]) -> str:
    """Lay out rows as a Markdown table."""
    heading, *rows = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [heading, ["---"] * len(heading), *rows])
