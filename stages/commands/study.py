"""`bind-an-audio study`: run arms of the study with seeds, and write what they say to docs/study.md.

Each arm with each seed is a stage of `studies/`, a DVC repository of its own inside the pipeline's, which so does not
see them. What stands is not run again, and a study that was stopped goes on with the next call. The page is of all
results that are there, also of earlier calls and, as git keeps them, of earlier clones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.evaluation.intervals import Estimate
from stages.experiments.experiment_a import EXPERIMENT_A
from stages.experiments.experiment_b import EXPERIMENT_B
from stages.formats.files import read_json, write_json, write_text
from stages.formats.keys import request_key
from stages.params.schema import load_params
from stages.plumbing.cluster import core_count
from stages.report.plots import plot_spaces
from stages.study.arms import ARMS, REFERENCES, RESULTS, load_arms
from stages.study.claims import CHECKS, CLAIMS, decide
from stages.study.estimates import Study
from stages.study.page import COLUMNS, study_page
from stages.study.spaces import spaces
from stages.tracking.mlflow_store import (
    flatten,
    log_in_batches,
    mlflow_experiment,
    numbers,
    repository_root,
    search_all,
    tracking_client,
)
from stages.tracking.revisions import git

STUDIES_EXPERIMENT = "bind-an-audio-studies"
DOCS, METRICS = Path("docs"), Path("metrics")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare arms, seeds and how many run at a time."""
    parser.add_argument("--arms", nargs="+", metavar="ARM", help=f"of {ARMS} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="SEED", help="default: 1 to 5")
    parser.add_argument("--jobs", type=int, default=core_count(), help="arms at a time (default: one a core)")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page of what is there")
    parser.add_argument(
        "--name", default="study", help="of the page in docs/ and the numbers in metrics/ (default: study)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Run, summarise, log."""
    if not arguments.page:
        run_arms(arguments.arms or list(load_arms()), arguments.seeds, arguments.jobs)
    study = read_study()
    trainings = sum(map(len, study.results.values()))
    corpus = load_params().prepare.corpus
    note = f"Made of {trainings} trainings on {corpus}, on references {study.references['instrument'][:7]}."
    page, picture = DOCS / f"{arguments.name}.md", f"{arguments.name}_mismatch.png"
    if EXPERIMENT_A.exists() and EXPERIMENT_B.exists():
        plot_spaces(spaces(), DOCS / picture)
    write_text(page, study_page(study, note, picture))
    write_json(METRICS / f"{arguments.name}.json", study_numbers(study))
    if os.environ.get("BIND_AN_AUDIO_TRACKING", "").lower() != "off":
        log_study(study)
    print(f"Page: {page}")


def run_arms(arms: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Let DVC run the stages, several at a time, each on one core; seed after seed, so that a stopped study is even.

    Raises ValueError where a stage fails.
    """
    wanted = [f"arm@{arm}-{seed}" for seed in seeds for arm in arms]
    if _repro(["references"]).wait():
        raise ValueError("the study's references failed, see above; run the study again")
    lanes = [_repro(lane) for lane in (wanted[start::jobs] for start in range(jobs)) if lane]
    for lane in lanes:
        lane.wait()
    # DVC gives up where another of its processes holds the lock for some seconds: what such a lane left comes here.
    if _repro(wanted).wait():
        raise ValueError("a stage of the study failed, see above; what stands is kept, run the study again")


def _repro(targets: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dvc", "--cd", str(RESULTS.parent), "repro", "--single-item", *targets]
    # The arms' root is the project's, not that of the study's own repository.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DVC_ROOT": str(repository_root())}
    return subprocess.Popen(command, env=environment)  # noqa: S603 - our own module


def read_study() -> Study:
    """All results of studies/results/ that were made with today's references, arms in the order of arms.yaml.

    Raises ValueError where there is none.
    """
    references = read_json(REFERENCES)
    every = {path: read_json(path) for path in sorted(RESULTS.glob("*.json")) if path != REFERENCES}
    found = [one for one in every.values() if one.get("instrument") == references["instrument"]]
    if left_out := [path.name for path, one in every.items() if one not in found]:
        print(f"left out, of other code, params or networks: {', '.join(left_out)}")
    results: dict[str, dict[int, Any]] = {}
    for arm in load_arms():
        if seeds := {one["seed"]: one for one in found if one["arm"] == arm}:
            results[arm] = dict(sorted(seeds.items()))
    if not results:
        raise ValueError(f"{RESULTS}: no results; `make study` runs the study")
    return Study(results, references)


def study_numbers(study: Study) -> dict[str, Any]:
    """`metrics/study.json`: each arm's fit and each claim's verdict, with figure and interval."""
    arms = {arm: _numbers(study.mean(arm, "fit")) | {"seeds": len(study.seeds(arm))} for arm in study.results}
    claims = [
        {"claim": one.claim.words, "verdict": one.verdict, "figure": one.claim.figure, **_numbers(one.estimate)}
        for one in (decide(claim, study) for claim in (*CLAIMS, *CHECKS))
    ]
    return {"arms": arms, "claims": claims}


def _numbers(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return dict.fromkeys(Estimate._fields)
    return {name: None if one is None else round(one, 4) for name, one in estimate._asdict().items()}


def log_study(study: Study) -> None:
    """One parent run a study, with the verdicts; a child for each arm and seed with its training's and clips' numbers.

    A study is what one instrument measured: with more trainings it goes on in its parent, and a training that was run
    again replaces its child.
    """
    root = repository_root()
    with tracking_client(root) as client:
        experiment = mlflow_experiment(client, STUDIES_EXPERIMENT, root)
        instrument = study.references["instrument"]
        found = client.search_runs(
            [experiment], f"tags.kind = 'study' and tags.instrument = '{instrument}'", max_results=1
        )
        identity = {"kind": "study", "instrument": instrument}
        parent = found[0] if found else client.create_run(experiment, run_name=f"study {instrument[:7]}", tags=identity)
        parent_id = parent.info.run_id
        claims = study_numbers(study)["claims"]
        tags = {f"claim.{index:02}": f"{one['verdict']}: {one['claim']}" for index, one in enumerate(claims)}
        log_in_batches(client, parent_id, {}, [], tags | {"baseline": git("rev-parse", "HEAD")})
        children = {
            run.info.run_name: run
            for run in search_all(client, experiment, f"tags.`mlflow.parentRunId` = '{parent_id}'")
        }
        for arm, seeds in study.results.items():
            for seed, result in seeds.items():
                name, digest = f"{arm} {seed}", request_key(result)
                if before := children.get(name):
                    if before.data.tags["result"] == digest:
                        continue
                    client.delete_run(before.info.run_id)
                _log_training(client, experiment, {"mlflow.parentRunId": parent_id, "result": digest}, name, result)
        client.set_terminated(parent_id)


def _log_training(client: Any, experiment: str, tags: dict[str, str], name: str, result: Mapping[str, Any]) -> None:
    child = client.create_run(experiment, run_name=name, tags={"kind": "arm", "arm": result["arm"], **tags})
    means = {
        f"{clips}.{metric}": sum(known) / len(known)
        for clips, scores in result["clips"].items()
        for metric in COLUMNS
        if (known := [one for one in scores.get(metric, []) if one is not None])
    }
    points = [(key, one, 0) for key, one in (numbers(result["training"]) | means).items()]
    params = flatten(result["changes"]) | {"seed": result["seed"]}
    log_in_batches(client, child.info.run_id, params, points, {})
    client.set_terminated(child.info.run_id)
