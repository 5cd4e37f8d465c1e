"""`bind-an-audio seeds FOLDER ...`: what several whole runs that differ in their seeds alone say together.

Each folder is a repository in which the pipeline has run: params.yaml, metrics/systems.tsv, metrics/comparison.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.evaluation.systems import METRICS, SYSTEMS
from stages.formats.files import read_json, read_tsv, write_text
from stages.report.pages import markdown_table
from stages.study.estimates import over_seeds
from stages.study.page import shown
from stages.tracking.revisions import flat_params

PAGE = Path("docs/seeds.md")
Values = Mapping[tuple[str, str], float]  # (system, metric) -> value
# Each as (one, other, from): one of the way from `from` to other; without `from` one over other.
RATIOS = {
    "codec / real": ("codec", "real", None),
    "reference / codec": ("reference", "codec", None),
    "A, of the way from floor to reference": ("experiment_a", "reference", "floor"),
    "B, of the way from floor to reference": ("experiment_b", "reference", "floor"),
}
ABOUT = (
    "Written by `bind-an-audio seeds`; do not edit. {runs} whole runs that differ in seeds alone: each trained every "
    "network and made its clips anew. Means over runs with Student's 95 % interval, which few runs leave wide; the "
    "intervals over captions of a single run are in its metrics/systems.tsv."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the runs."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a whole run")
    parser.add_argument("--out", type=Path, default=PAGE, help=f"page to write (default: {PAGE})")


def main(arguments: argparse.Namespace) -> None:
    """Print and write the page. Raises ValueError where the runs cannot be put together."""
    check_params(arguments.folders)
    runs = [read_values(folder) for folder in arguments.folders]
    doubted = [
        folder for folder in arguments.folders if not read_json(folder / "metrics/comparison.json")["conclusive"]
    ]
    text = seeds_page(runs, doubted)
    print(text, end="")
    write_text(arguments.out, text)
    print(f"\nPage: {arguments.out}")


def check_params(folders: Sequence[Path]) -> None:
    """Raise ValueError unless the runs' params differ in seeds and in nothing else."""
    params = [flat_params((folder / "params.yaml").read_text(encoding="utf-8")) for folder in folders]
    for folder, one in zip(folders, params, strict=True):
        for key in {**params[0], **one}:
            if not key.endswith("seed") and one.get(key) != params[0].get(key):
                raise ValueError(f"{folder}: {key} differs from {folders[0]}'s; give runs that differ in seeds alone")
    seeds = [{key: value for key, value in one.items() if key.endswith("seed")} for one in params]
    for place, own in enumerate(seeds):
        if own in seeds[:place]:
            twin = folders[seeds.index(own)]
            raise ValueError(f"{folders[place]}: has the seeds of {twin}; give each run once")


def read_values(folder: Path) -> dict[tuple[str, str], float]:
    """`metrics/systems.tsv` without intervals. Raises ValueError where it is no such table, or one without rows."""
    path = folder / "metrics/systems.tsv"
    with suppress(KeyError, ValueError):
        if values := {(row["system"], row["metric"]): float(row["value"]) for row in read_tsv(path)}:
            return values
    raise ValueError(f"{path}: no table of metric, system and value; run `dvc repro evaluate` there")


def seeds_page(runs: Sequence[Values], doubted: Sequence[Any] = ()) -> str:
    """The page of Markdown; `doubted` are the runs that are not conclusive."""
    metrics = [name for name in METRICS if all(("reference", name) in run for run in runs)]
    headlines = [name for name in metrics if METRICS[name].headline]
    systems = [
        [one.name, *(_cell([run.get((key, name)) for run in runs]) for name in metrics)] for key, one in SYSTEMS.items()
    ]
    shares = [
        [words, *(_cell([ratio(run, name, *ends) for run in runs]) for name in headlines)]
        for words, ends in RATIOS.items()
    ]
    parts = ["# Whole runs with other seeds", ABOUT.format(runs=len(runs))]
    if doubted:
        parts.append(f"Not conclusive by themselves: {', '.join(map(str, doubted))}.")
    for first, names, rows in (("system", metrics, systems), ("share", headlines, shares)):
        parts.append(markdown_table([first, *(METRICS[name].name for name in names)], rows))
    return "\n\n".join([*parts, "\n".join(f"- {order(runs, name)}" for name in metrics)]) + "\n"


def ratio(run: Values, metric: str, one: str, other: str, start: str | None) -> float | None:
    """One system's metric as a share of another's, counted from `start`'s; None where there is no way to go."""
    if any((system, metric) not in run for system in (one, other, start or one)):
        return None
    from_ = run[start, metric] if start else 0.0
    way = run[other, metric] - from_
    return (run[one, metric] - from_) / way if way > 0 else None


def order(runs: Sequence[Values], metric: str) -> str:
    """Whether the runs agree which of A and B is better by a metric, and by how much."""
    sign = 1 if METRICS[metric].better == "higher" else -1
    gaps = [run["experiment_b", metric] - run["experiment_a", metric] for run in runs]
    ahead = sum(sign * gap > 0 for gap in gaps)
    agreed = {len(runs): "B is better in all runs", 0: "A is better in all runs"}
    words = agreed.get(ahead, f"the runs disagree: B is better in {ahead} of {len(runs)}")
    return f"{METRICS[metric].name}: {words}; B − A {shown(over_seeds(gaps))}."


def _cell(values: Sequence[float | None]) -> str:
    return shown(over_seeds([value for value in values if value is not None]))
