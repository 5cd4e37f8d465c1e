"""`bind-an-audio sync`: log whole revisions, read from git and dvc.lock, into MLflow, each exactly once.

A stage that DVC skips, or restores from its cache, runs no code and so logs nothing; and an experiment may have been
run elsewhere and pulled. The MLflow experiment `bind-an-audio-revisions` therefore gets one run per commit and per DVC
experiment, with params.yaml, all metrics, the curves, the datasets, and dvc.lock, plots and listening page as
artifacts; `bind-an-audio-models` gets its networks (`stages/tracking/models.py`).

Both ways: a revision's run names its DVC experiment, its commit and the command that brings it back, and its tag
`stage_runs` the stages' own MLflow runs that made these outputs (found by their md5s, also where DVC restored them);
those and their parent get the tag `revision`. The tag `revision` of a revision's run says what is there already; it is
set last, so a run without it is half-written and is made anew.
"""

from __future__ import annotations

import argparse
import html
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.formats.files import read_tsv
from stages.tracking.machines import (
    MACHINES,
    UNKNOWN,
    differing_stages,
    distinct_machines,
    machine_sentence,
)
from stages.tracking.mlflow_store import (
    flatten,
    log_datasets,
    log_in_batches,
    mlflow_experiment,
    numbers,
    page_of_runs,
    repository_root,
    search_all,
    tracking_client,
)
from stages.tracking.models import log_models
from stages.tracking.revisions import (
    NO_EXPERIMENT,
    Revision,
    commit_revision,
    corpus_and_preset,
    find_revision,
    flat_params,
    git,
    git_file,
    known_experiments,
    locked_commits,
    open_repository,
    own_email,
    read_yaml,
    revision_hashes,
    revision_machines,
    revision_presets,
)
from stages.tracking.stage_runs import MetricPoint, curve_points, runs_that_wrote

REVISIONS_EXPERIMENT = "bind-an-audio-revisions"
# What MLflow's table of revisions shows, by names whose first letters it has room for.
SHORT = {
    f"{name.upper()}/{metric}": f"evaluation.experiment_{name}.{metric}"
    for metric in ("source_accuracy", "attribute_adherence", "clap_score")
    for name in "ab"
}
COLUMNS = (
    "tags.preset",
    "tags.preset_changes",
    *(f"metrics.{short}" for short in SHORT),
    "tags.machines",
)
CORPUS = "data/corpus"
PAGE = "metrics/listening/index.html"
KEPT = "metrics/"
CURVES = "metrics/curves/"
SINGLE = ("params.yaml", "dvc.lock", "dvc.yaml", str(MACHINES))


@dataclass(frozen=True)
class Content:
    """What a revision's run holds."""

    params: dict[str, Any]
    metrics: dict[str, float]
    curves: list[MetricPoint]
    tags: dict[str, str]
    datasets: dict[str, str]
    outputs: dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which revisions are logged."""
    revisions = "commits, branches, tags or DVC experiments (default: HEAD and its experiments)"
    parser.add_argument("revisions", nargs="*", metavar="REV", help=revisions)
    parser.add_argument("--all", action="store_true", help="each of your commits with a dvc.lock, and each experiment")
    parser.add_argument("--everyone", action="store_true", help="with --all: the commits of others, too")


def main(arguments: argparse.Namespace) -> None:
    """Log what is not there yet; print a line for each revision and where MLflow shows them."""
    if arguments.all and arguments.revisions:
        raise ValueError("--all and REV exclude each other; give one of them")
    if arguments.everyone and not arguments.all:
        raise ValueError("--everyone goes with --all; give both")
    with open_repository() as repository:
        experiments = known_experiments(repository)
        if arguments.all:
            # A branch of an experiment leads to the experiment's own commit: its name says more than "commit".
            named = {experiment.sha for experiment in experiments.values()}
            author = None if arguments.everyone else own_email()
            wanted = [commit_revision(sha) for sha in locked_commits(author) if sha not in named]
            wanted += experiments.values()
        elif arguments.revisions:
            wanted = [find_revision(name, experiments) for name in arguments.revisions]
        else:
            head = git("rev-parse", "HEAD")
            wanted = [commit_revision(head), *(found for found in experiments.values() if found.baseline == head)]
        sync(repository, list(dict.fromkeys(wanted)))


def sync(repository: Any, wanted: list[Revision]) -> None:
    """Log the revisions that MLflow does not have yet, a line each; at last how many, and where they are to be seen."""
    root = repository_root()
    with tracking_client(root) as client:
        experiment_id = mlflow_experiment(client, REVISIONS_EXPERIMENT, root, COLUMNS)
        there = logged_revisions(client, experiment_id)
    logged = left_out = 0
    for revision in wanted:
        if revision.sha in there:
            print(f"{revision.label}: already there, run {there[revision.sha]}")
            continue
        with TemporaryDirectory() as folder:
            try:
                content = read_revision(revision, Path(folder), repository)
            except ValueError as error:
                # One old commit that nobody can read any more must not keep the others out.
                print(f"{revision.label}: left out: {error}")
                left_out += 1
                continue
            # The lock is held for one revision at a time: stages that end meanwhile log between two of them.
            with tracking_client(root) as client:
                if client.search_runs([experiment_id], f"tags.revision = '{revision.sha}'", max_results=1):
                    continue  # another sync was faster
                run_id = log_revision(client, experiment_id, revision, content, Path(folder))
            files = sum(file.is_file() for file in Path(folder).rglob("*"))
        logged += 1
        print(f"{revision.label}: {len(content.metrics)} metrics, {files} artifacts, run {run_id}")
        if (other := content.tags["other_machine_than_baseline"]) != "no":
            print(f"  other machine or number of threads than its baseline's: {other}; last digits may differ")
    known = sum(revision.sha in there for revision in wanted)
    unreadable = f", {left_out} left out" if left_out else ""
    print(f"{logged} logged, {known} already there{unreadable}: {page_of_runs(root, experiment_id, columns=True)}")


def read_revision(revision: Revision, folder: Path, repository: Any) -> Content:
    """Gather params, metrics, hashes and origin of a revision, and its artifacts into `folder`.

    Raises ValueError where it has no params.yaml or no dvc.lock, or one that cannot be read.
    """
    text = git_file(revision.sha, "params.yaml")
    if text is None or git_file(revision.sha, "dvc.lock") is None:
        raise ValueError("has no params.yaml and dvc.lock")
    params = flatten(read_yaml(text, "params.yaml"))
    dependencies, outputs = (
        {path: md5 for stage in revision_hashes(revision.sha, kind).values() for path, md5 in stage.items()}
        for kind in ("deps", "outs")
    )
    machines, other = revision_machines(revision.sha), list[str]()
    # What the baseline left to be run (a fresh clone's other params) or does not say is no other machine.
    with suppress(ValueError):
        other = differing_stages(revision_machines(revision.baseline), machines)
    kept = [path for path in outputs if path.startswith(KEPT)]
    collect(repository, revision.sha, [*SINGLE, *kept], folder)
    if (folder / PAGE).exists():
        mark_page(folder / PAGE, machine_sentence(machines))
    presets, baseline = revision_presets(revision.sha), flat_params(git_file(revision.baseline, "params.yaml"))
    tags = {
        "kind": "revision",
        "experiment": revision.experiment,
        "baseline": revision.baseline,
        **corpus_and_preset(params, presets, baseline),
        "machines": " + ".join(distinct_machines(machines)) or UNKNOWN,
        "other_machine_than_baseline": ", ".join(other) or "no",
        "mlflow.note.content": how_to_return(revision),
    }
    metrics, curves = read_metrics(folder, kept), read_curves(folder, kept)
    return Content(params, metrics, curves, tags, dependencies, outputs)


def collect(repository: Any, sha: str, paths: list[str], folder: Path) -> None:
    """Copy a revision's files and folders into `folder`, at their paths: from git, from DVC's cache or its remote.

    What is in none of them is left out: a clone without the cache has no listening page of a revision that ran
    elsewhere. Raises ValueError where DVC cannot read the revision.
    """
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    for name in repository.brancher(revs=[sha]):
        if name == "workspace":
            continue
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with suppress(OSError, DataIndexDirError):
                    repository.dvcfs.get(path, str(target), recursive=True)
            except DvcException as error:
                raise ValueError(f"dvc: {error}") from None


def read_metrics(folder: Path, paths: list[str]) -> dict[str, float]:
    """The numbers of metrics/*.json: `metrics/train_b.json`'s best_epoch becomes `train_b.best_epoch`."""
    found: dict[str, Any] = {}
    for path in (folder / path for path in sorted(paths) if path.endswith(".json") and path != str(MACHINES)):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError):
            print(f"  {path.relative_to(folder)}: not JSON, its metrics are left out")
    return numbers(found)


def read_curves(folder: Path, paths: list[str]) -> list[MetricPoint]:
    """The curves of metrics/curves/*.tsv as steps; what is no table of numbers is left out."""
    points: list[MetricPoint] = []
    for path in (folder / path for path in paths if path.startswith(CURVES) and path.endswith(".tsv")):
        with suppress(OSError, ValueError):
            rows = [{key: float(value) for key, value in row.items()} for row in read_tsv(path)]
            points += curve_points(path.stem, rows)
    return points


def mark_page(page: Path, sentence: str) -> None:
    """Put a sentence at the head of a page's notes. Only copies are marked: the page itself is the same everywhere."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<footer>\n", f"<footer>\n<p>{html.escape(sentence)}</p>\n", 1), encoding="utf-8")


def log_revision(client: Any, experiment_id: str, revision: Revision, content: Content, folder: Path) -> str:
    """Write one finished run, dated as its commit, with the artifacts in `folder`; return its id."""
    committed, subject = git("show", "--no-patch", "--format=%ct %s", revision.sha).split(" ", maxsplit=1)
    milliseconds = int(committed) * 1000
    name = revision.experiment if revision.experiment != NO_EXPERIMENT else f"{revision.sha[:7]} {subject[:60]}"
    made_by = runs_that_wrote(client, revision_hashes(revision.sha, "outs"))
    tags = content.tags | {"stage_runs": json.dumps({stage: run.info.run_id for stage, run in made_by.items()})}
    run_id = str(client.create_run(experiment_id, start_time=milliseconds, run_name=name).info.run_id)
    short = {key: content.metrics[name] for key, name in SHORT.items() if name in content.metrics}
    points = [(key, value, 0) for key, value in (content.metrics | short).items()]
    log_in_batches(client, run_id, content.params, [*points, *content.curves], tags)
    log_datasets(client, run_id, content.datasets)
    corpus = (CORPUS, content.outputs[CORPUS]) if CORPUS in content.outputs else None
    aliases = [f"champion-{revision.sha[:7]}", *(["champion"] if revision.sha == git("rev-parse", "HEAD") else [])]
    log_models(client, revision.sha, content.outputs, content.params, content.metrics, corpus, aliases)
    client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id, end_time=milliseconds)
    for run in made_by.values():
        # A stage's run may have made the outputs of several revisions: it names the one that was synced first.
        if "revision" not in run.data.tags:
            client.set_tag(run.info.run_id, "revision", revision.sha)
        if run.data.tags["experiment"] == revision.experiment:
            client.set_tag(run.data.tags["mlflow.parentRunId"], "revision", revision.sha)
    client.set_tag(run_id, "revision", revision.sha)
    return run_id


def logged_revisions(client: Any, experiment_id: str) -> dict[str, str]:
    """Return hash -> run of what is in MLflow; delete runs that an interrupted sync left without a hash.

    The caller holds the lock: no other sync is writing a run just now.
    """
    there = {}
    for run in search_all(client, experiment_id):
        if "revision" in run.data.tags:
            there[run.data.tags["revision"]] = run.info.run_id
        else:
            client.delete_run(run.info.run_id)
    return there


def how_to_return(revision: Revision) -> str:
    """Say how to bring the revision into the working folder; MLflow shows it as the run's description."""
    way = f"`git checkout {revision.sha[:7]} && dvc checkout`"
    if revision.experiment != NO_EXPERIMENT:
        way = f"DVC experiment `{revision.experiment}` of {revision.baseline[:7]}: `dvc exp apply {revision.sha[:7]}`"
    return f"{way}. Listening page: {PAGE}."
