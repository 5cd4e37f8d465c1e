"""`bind-an-audio sync`: log whole revisions, read from git and dvc.lock, into MLflow, each exactly once.

A stage that DVC skips, or restores from its cache, runs no code and so logs nothing; and an experiment may have been
run elsewhere. The MLflow experiment `bind-an-audio-revisions` therefore gets one run per commit and per DVC experiment:
params.yaml and all metrics as they stand in that revision. The tag `revision` (the full hash) says what is there
already; it is set last, so a run without it is half-written and is made anew.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.plumbing.tracking import (
    flatten,
    log_in_batches,
    mlflow_experiment,
    numbers,
    repository_root,
    tracking_client,
    tracking_uri,
)

REVISIONS_EXPERIMENT = "bind-an-audio-revisions"
NO_EXPERIMENT = "commit"


@dataclass(frozen=True)
class Revision:
    """A commit (`experiment` is "commit", its own baseline) or a DVC experiment."""

    sha: str
    experiment: str
    baseline: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which revisions are logged."""
    parser.add_argument(
        "revisions",
        nargs="*",
        metavar="REV",
        help="commits, branches, tags or DVC experiments (default: HEAD and its experiments)",
    )
    parser.add_argument("--all", action="store_true", help="every commit that has a dvc.lock, and every experiment")


def main(arguments: argparse.Namespace) -> None:
    """Log what is not there yet; print a line for each revision and a summary."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    if arguments.all and arguments.revisions:
        raise ValueError("--all and REV exclude each other; give one of them")
    try:
        repository = Repo()
    except NotDvcRepoError:
        raise ValueError(f"{Path.cwd()}: no DVC repository; run from the repository's root") from None
    with repository:
        experiments = known_experiments(repository)
        if arguments.all:
            wanted = [*(commit_revision(sha) for sha in locked_commits()), *experiments.values()]
        elif arguments.revisions:
            wanted = [find_revision(name, experiments) for name in arguments.revisions]
        else:
            head = git("rev-parse", "HEAD")
            wanted = [commit_revision(head), *(found for found in experiments.values() if found.baseline == head)]
        logged, known = sync(repository, list(dict.fromkeys(wanted)))
    print(f"{logged} logged, {known} already there: {tracking_uri(repository_root())}")


def sync(repository: Any, wanted: list[Revision]) -> tuple[int, int]:
    """Log the revisions that MLflow does not have yet; return how many were logged and how many were there."""
    logged = 0
    root = repository_root()
    with tracking_client(root) as client:
        experiment_id = mlflow_experiment(client, REVISIONS_EXPERIMENT, root)
        there = logged_revisions(client, experiment_id)
        missing = [revision for revision in wanted if revision.sha not in there]
        # One call for all: DVC reads metrics from git, or from its cache where they are not in git.
        metrics = repository.metrics.show(revs=[revision.sha for revision in missing]) if missing else {}
        for revision in missing:
            label = f"{revision.sha[:7]} {revision.experiment}"
            params = git_file(revision.sha, "params.yaml")
            if params is None or git_file(revision.sha, "dvc.lock") is None:
                print(f"{label}: has no params.yaml and dvc.lock, left out")
                continue
            values = metric_values(metrics.get(revision.sha, {}))
            log_revision(client, experiment_id, revision, flatten(yaml.safe_load(params)), values)
            print(f"{label}: {len(values)} metrics")
            logged += 1
    return logged, len(wanted) - len(missing)


def log_revision(
    client: Any, experiment_id: str, revision: Revision, params: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Write one finished run, dated as its commit."""
    committed, subject = git("show", "--no-patch", "--format=%ct %s", revision.sha).split(" ", maxsplit=1)
    milliseconds = int(committed) * 1000
    name = revision.experiment if revision.experiment != NO_EXPERIMENT else f"{revision.sha[:7]} {subject[:60]}"
    tags = {"kind": "revision", "experiment": revision.experiment, "baseline": revision.baseline}
    run_id = client.create_run(experiment_id, start_time=milliseconds, run_name=name, tags=tags).info.run_id
    texts = {key: str(value) for key, value in params.items()}
    log_in_batches(client, run_id, texts, ((key, value, 0) for key, value in metrics.items()), {})
    client.set_terminated(run_id, end_time=milliseconds)
    client.set_tag(run_id, "revision", revision.sha)


def logged_revisions(client: Any, experiment_id: str) -> set[str]:
    """Return the hashes that are in MLflow; delete runs that an interrupted sync left without one."""
    there: set[str] = set()
    page = None
    while page != "":
        runs = client.search_runs([experiment_id], max_results=1000, page_token=page)
        for run in runs:
            if "revision" in run.data.tags:
                there.add(run.data.tags["revision"])
            else:
                client.delete_run(run.info.run_id)
        page = runs.token or ""
    return there


def metric_values(shown: Mapping[str, Any]) -> dict[str, float]:
    """Flatten what DVC shows of one revision: `metrics/train_b.json`'s best_epoch becomes `train_b.best_epoch`."""
    files = shown.get("data") or {}
    return numbers({Path(name).stem: content["data"] for name, content in files.items() if "data" in content})


def known_experiments(repository: Any) -> dict[str, Revision]:
    """Return every DVC experiment of the repository by its hash."""
    listed = repository.experiments.ls(all_commits=True)
    rows = ((baseline, name, sha) for baseline, found in listed.items() for name, sha in found)
    return {sha: Revision(sha, name, baseline) for baseline, name, sha in sorted(rows) if sha}


def find_revision(name: str, experiments: Mapping[str, Revision]) -> Revision:
    """Return the experiment or commit called `name`.

    Raises ValueError where it is neither, or where experiments of two baselines bear the name.
    """
    named = [found for found in experiments.values() if found.experiment == name]
    if len(named) > 1:
        shas = ", ".join(found.sha[:7] for found in named)
        raise ValueError(f"{name}: {len(named)} experiments are called so; give one of {shas}")
    if named:
        return named[0]
    try:
        sha = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except ValueError:
        raise ValueError(f"{name}: neither a commit nor a DVC experiment; see `git log` and `dvc exp list`") from None
    return experiments.get(sha, commit_revision(sha))


def commit_revision(sha: str) -> Revision:
    """Return the revision of a plain commit."""
    return Revision(sha, NO_EXPERIMENT, sha)


def locked_commits() -> list[str]:
    """Return the commits of all branches and tags whose tree has a dvc.lock, oldest first."""
    commits = git("rev-list", "--reverse", "--branches", "--tags", "--remotes", "HEAD").split()
    return [sha for sha in commits if git_file(sha, "dvc.lock") is not None]


def git_file(sha: str, path: str) -> str | None:
    """Return a file's text as it stands in a revision, or None where it has none."""
    try:
        return git("show", f"{sha}:{path}")
    except ValueError:
        return None


def git(*arguments: str) -> str:
    """Return what git prints.

    Raises ValueError with git's complaint.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise ValueError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
