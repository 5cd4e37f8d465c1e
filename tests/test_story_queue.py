"""Many experiments at once, at smoke size: a queue on two workers, one killed and queued again, all of it in MLflow.

In one scratch clone, top to bottom: each test goes on where the one before it ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from stages.commands.sync import REVISIONS_EXPERIMENT
from stages.tracking.dependencies import stage_hashes
from stages.tracking.mlflow_store import numbers
from stages.tracking.revisions import lock_hashes
from stages.tracking.stage_runs import STAGES_EXPERIMENT
from tests.browser import chromium
from tests.mlflow_ui import mlflow_ui
from tests.shell import sh, stages_run, wait_until

EXPERIMENTS = {"long", "rate-1", "rate-2"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracking")]


@pytest.fixture(scope="module")
def queued(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reproduced clone without MLflow's store; three experiments ran, one of them after it was killed."""
    folder = tmp_path_factory.mktemp("queue") / "clone"
    shutil.copytree(
        reproduced, folder, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts", ".cache")
    )
    # DVC reads a revision's remote from that revision: one that is added later holds nothing of what ran before.
    sh(folder, "dvc", "remote", "add", "--quiet", "--default", "storage", str(folder.parent / "storage"))
    sh(folder, "git", "commit", "--all", "--quiet", "--message", "A remote")
    sh(folder, "dvc", "exp", "run", "--queue", "--name", "long", "--set-param", "train_b.epochs=60")
    sh(folder, "dvc", "exp", "run", "--queue", "--name", "rate", "--set-param", "train_b.learning_rate=2e-3,4e-3")
    script = folder / "stages" / "train_b.py"
    code = script.read_text()
    script.write_text("raise SystemExit('queued experiments run the code that was queued')\n")
    start_workers(folder, "2")
    # The long one is killed once it has a checkpoint of its 60 epochs to go on from; it stands still meanwhile. The
    # kill ends its worker too, and DVC may lose what an ending worker takes from the queue: the others go first.
    process = wait_until(lambda: training(folder, "epochs: 60"))
    wait_until(checkpoint_of(process, folder).exists)
    process.suspend()
    wait_until(lambda: others_are_done(folder), lambda: queue_state(folder))
    sh(folder, "dvc", "queue", "kill", "long")
    process.resume()
    wait_for_workers_end(folder)
    assert statuses(folder) == ["Failed", "Success", "Success"], sh(folder, "dvc", "queue", "logs", "long")
    script.write_text(code)
    sh(folder, "dvc", "exp", "run", "--queue", "--name", "long", "--set-param", "train_b.epochs=60")
    start_workers(folder, "1")
    wait_until(lambda: not {"Running", "Queued"} & set(statuses(folder)), lambda: queue_state(folder))
    assert statuses(folder).count("Success") == 3, sh(folder, "dvc", "queue", "logs", "long")
    wait_for_workers_end(folder)
    return folder


def start_workers(folder: Path, jobs: str) -> None:
    """Start workers. They keep the output open that they inherit: to read it would be to wait for their end."""
    environment = os.environ | {"BIND_AN_AUDIO_CHECKPOINT_SECONDS": "0"}
    command = ["dvc", "queue", "start", "--jobs", jobs]
    subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )


def others_are_done(folder: Path) -> bool:
    """Whether all but the long one ran. A worker may end though something is queued: DVC then starts another."""
    found = statuses(folder)
    # Each worker, one that is starting too, is a child of the `dvc queue start` that stays for it.
    workers = [words for words, _ in processes_in(folder) if "queue" in words and "start" in words]
    if "Queued" in found and len(workers) < 2:
        start_workers(folder, "2")
    return found == ["Running", "Success", "Success"]


def wait_for_workers_end(folder: Path) -> None:
    """Wait until the workers have found the queue empty and ended: DVC starts none beside one that is ending.

    `dvc queue stop` would be quicker, but where none is left to stop it is the next worker that obeys it.
    """
    wait_until(lambda: not any("queue-worker" in words for words, _ in processes_in(folder)))


def processes_in(folder: Path) -> Iterator[tuple[list[str], psutil.Process]]:
    """Command lines and processes that run in `folder` or below."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                yield process.cmdline(), process


def training(folder: Path, param: str) -> psutil.Process | None:
    """The process that trains B with `param` in one of DVC's temporary folders."""
    for words, process in processes_in(folder):
        with contextlib.suppress(psutil.Error, FileNotFoundError):
            if "stages.train_b" in words and param in (Path(process.cwd()) / "params.yaml").read_text():
                return process
    return None


def checkpoint_of(process: psutil.Process, folder: Path) -> Path:
    hashes = json.dumps(stage_hashes("train_b", Path(process.cwd())), sort_keys=True)
    digest = hashlib.sha256(hashes.encode()).hexdigest()
    return folder / ".cache" / "training" / f"train_b-{digest[:16]}" / "train_b.safetensors"


def queue_status(folder: Path) -> str:
    """DVC's table of the queue. DVC fails where a worker has just begun to write what it reads, and is asked again."""

    def table() -> str:
        command = ("dvc", "queue", "status")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "Expecting value: line 1 column 1" in done.stderr, done.stderr
        return "" if done.returncode else done.stdout

    return str(wait_until(table))


def statuses(folder: Path) -> list[str]:
    rows = [line.split() for line in queue_status(folder).splitlines()]
    return sorted(row[-1] for row in rows if row and row[-1] in ("Failed", "Success", "Running", "Queued"))


def queue_state(folder: Path) -> str:
    """What DVC and its workers say, for a failure that is not seen twice."""
    logs = sorted((folder / ".dvc" / "tmp" / "exps" / "celery").glob("dvc-exp-worker-*.out"))
    return "\n".join([queue_status(folder), *(f"{log}\n{log.read_text()[-3000:]}" for log in logs)])


def experiments(folder: Path) -> dict[str, dict[str, Any]]:
    """What `dvc exp show` knows of each finished experiment of HEAD."""
    shown = json.loads(sh(folder, "dvc", "exp", "show", "--json"))
    head = next(row for row in shown if row["rev"] != "workspace")
    # A failed task stands there under its name too, before or after the run that went well.
    revisions = [(one["name"], one["revs"][-1]) for one in head["experiments"] or []]
    return {name: revision["data"] for name, revision in revisions if name and not revision["error"]}


def metrics_of(data: dict[str, Any]) -> dict[str, float]:
    files = {Path(name).stem: content["data"] for name, content in data["metrics"].items()}
    return numbers(files)


def store(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def found(folder: Path, experiment: str, query: str) -> list[Any]:
    client = store(folder)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id], query))


def test_queued_experiments_ran_what_depends_on_the_param_and_the_killed_one_went_on(queued: Path):
    log = sh(queued, "dvc", "queue", "logs", "long")
    assert "resumed after update" in log
    assert stages_run(log) == ["train_b", "sample_b", "evaluate"]
    runs = found(queued, STAGES_EXPERIMENT, "tags.kind = 'stage'")
    assert {run.data.tags["stage"] for run in runs} == {"train_b", "sample_b", "evaluate"}
    assert "database is locked" not in log + sh(queued, "dvc", "queue", "logs", "rate-1")


def test_each_experiment_has_one_parent_with_a_child_for_each_stage(queued: Path):
    parents = {run.data.tags["experiment"]: run for run in found(queued, STAGES_EXPERIMENT, "tags.kind = 'pipeline'")}
    assert set(parents) == EXPERIMENTS
    for name, parent in parents.items():
        children = found(queued, STAGES_EXPERIMENT, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
        assert sorted(run.data.tags["stage"] for run in children) == ["evaluate", "sample_b", "train_b"], name


def test_exp_show_metrics_diff_search_runs_and_sync_agree_on_every_number(queued: Path):
    sh(queued, "bind-an-audio", "sync")
    shown = experiments(queued)
    revisions = {run.data.tags["experiment"]: run for run in found(queued, REVISIONS_EXPERIMENT, "")}
    assert set(shown) >= EXPERIMENTS
    assert set(revisions) == {"commit", *EXPERIMENTS}
    for name in EXPERIMENTS:
        numbers_shown = metrics_of(shown[name])
        assert len(numbers_shown) > 100
        # Curves are beside them, as train_a/training_loss.
        plain = {key: value for key, value in revisions[name].data.metrics.items() if "/" not in key}
        assert plain == numbers_shown
        diff = json.loads(sh(queued, "dvc", "metrics", "diff", "--json", "HEAD", name))
        for path, values in diff.items():
            for key, value in values.items():
                if isinstance(value["new"], (int, float)):
                    assert numbers_shown[f"{Path(path).stem}.{key}"] == value["new"], (name, path, key)
        (parent,) = found(queued, STAGES_EXPERIMENT, f"tags.kind = 'pipeline' and tags.experiment = '{name}'")
        for key, value in parent.data.metrics.items():
            stage, metric = key.split(".", 1)
            file = "comparison" if metric.startswith("comparison.") else {"evaluate": "evaluation"}.get(stage, stage)
            known = f"{file}.{metric.removeprefix('comparison.')}"
            # Clips are counted and memory is measured for MLflow alone: no output holds them.
            if not stage.startswith("sample_") and not metric.startswith("peak_"):
                assert numbers_shown[known] == value, (name, key)
        assert parent.data.tags["revision"] == revisions[name].data.tags["revision"]
    assert (
        shown["long"]["metrics"]["metrics/train_b.json"]["data"]["updates"]
        > shown["rate-1"]["metrics"]["metrics/train_b.json"]["data"]["updates"]
    )


def test_mlflows_ui_shows_the_runs_side_by_side_and_a_curve_of_each(queued: Path):
    query = "tags.stage = 'train_b' and params.`train_b.epochs` = '2'"
    runs = found(queued, STAGES_EXPERIMENT, query)
    ids = json.dumps([run.info.run_id for run in runs])
    place = f"runs={ids}&experiments=[%22{runs[0].info.experiment_id}%22]"
    curve = "%22train_b%2Fvalidation_diffusion_loss%22"
    shown = sh(queued, "bind-an-audio", "sync").strip().rpartition("#")[2]
    with mlflow_ui(queued) as address, chromium() as browser:
        # At the address that sync prints: training runs, with the columns that tell revisions apart. Those in view are
        # drawn alone, each with a header of its group's and its own.
        page = browser.new_page(viewport={"width": 4000, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(f"{address}/#{shown}")
        for column in ("B/source_accuracy", "preset_changes"):
            page.get_by_role("columnheader").filter(has_text=column).first.wait_for()
        # At the one that show prints: the stages' runs.
        page.goto(f"{address}/#{sh(queued, 'bind-an-audio', 'show').strip().rpartition('#')[2]}")
        page.get_by_text(re.compile("^rate-1 ")).first.wait_for()
        page.goto(f"{address}/#/compare-runs?{place}")
        row = page.get_by_role("row").filter(has_text=re.compile(r"^train_b\.learning_rate"))
        row.wait_for()
        assert {"0.002", "0.004"} <= set(row.inner_text().split())
        page.goto(f"{address}/#/metric?{place}&metric={curve}&plot_metric_keys=[{curve}]&plot_layout={{}}&x_axis=step")
        page.locator(".scatterlayer .trace .js-line").nth(1).wait_for(state="attached")
        assert page.locator(".scatterlayer .trace .js-line").count() >= 2


def test_one_is_applied_committed_and_nothing_runs_again(queued: Path):
    sh(queued, "dvc", "exp", "apply", "rate-2")
    sh(queued, "git", "commit", "--all", "--quiet", "--message", "Faster B")
    assert stages_run(sh(queued, "dvc", "repro")) == []
    assert sh(queued, "git", "status", "--porcelain") == ""
    params = json.loads(sh(queued, "dvc", "params", "diff", "--json", "HEAD~1", "HEAD"))
    assert list(params["params.yaml"]) == ["train_b.learning_rate"]
    sh(queued, "bind-an-audio", "sync", "--all")
    before = len(found(queued, REVISIONS_EXPERIMENT, ""))
    assert "0 logged" in sh(queued, "bind-an-audio", "sync", "--all")
    assert len(found(queued, REVISIONS_EXPERIMENT, "")) == before


def test_a_run_in_the_workspace_writes_what_the_queue_wrote(queued: Path):
    """HEAD's outputs of train_b come from a temporary folder; here they are trained again in the workspace."""
    before = lock_hashes((queued / "dvc.lock").read_text(), "outs")["train_b"]
    command = ["dvc", "repro", "--force", "--single-item", "--no-run-cache", "train_b"]
    assert stages_run(sh(queued, *command, BIND_AN_AUDIO_TRACKING="off")) == ["train_b"]
    assert lock_hashes((queued / "dvc.lock").read_text(), "outs")["train_b"] == before


def test_temporary_runs_use_the_repositorys_store_and_restore_what_did_not_change(queued: Path):
    output = sh(queued, "dvc", "exp", "run", "--temp", "--name", "fewer", "--set-param", "evaluate.bootstrap=20")
    assert stages_run(output) == ["evaluate"]
    assert sh(queued, "git", "status", "--porcelain") == ""
    (parent,) = found(queued, STAGES_EXPERIMENT, "tags.kind = 'pipeline' and tags.experiment = 'fewer'")
    assert parent.data.params["evaluate.bootstrap"] == "20"
    # The learning rate is committed by now: it is the default, and no change.
    assert (parent.data.tags["preset"], parent.data.tags["preset_changes"]) == ("default", "evaluate.bootstrap=20")
    again = sh(queued, "dvc", "exp", "run", "--temp", "--name", "again", "--set-param", "evaluate.bootstrap=20")
    assert stages_run(again) == []
    sh(queued, "bind-an-audio", "sync", "again")
    (run,) = found(queued, REVISIONS_EXPERIMENT, "tags.experiment = 'again'")
    (evaluate,) = found(queued, STAGES_EXPERIMENT, "tags.experiment = 'fewer' and tags.stage = 'evaluate'")
    assert json.loads(run.data.tags["stage_runs"])["evaluate"] == evaluate.info.run_id


def test_pushed_saved_and_branched_experiments_are_synced_by_a_colleague(queued: Path, tmp_path: Path):
    sh(tmp_path, "git", "init", "--quiet", "--bare", "team.git")
    sh(queued, "git", "remote", "add", "team", str(tmp_path / "team.git"))
    (queued / "params.yaml").write_text((queued / "params.yaml").read_text().replace("bootstrap: 50", "bootstrap: 40"))
    sh(queued, "dvc", "exp", "save", "--force", "--name", "untried")
    sh(queued, "git", "checkout", "--", ".")
    sh(queued, "git", "push", "--quiet", "team", "HEAD:main")
    sh(queued, "dvc", "exp", "push", "team", "--all-commits")
    sh(queued, "dvc", "exp", "branch", "fewer", "few-draws")
    sh(queued, "git", "push", "--quiet", "team", "few-draws")

    colleague = tmp_path / "colleague"
    sh(
        tmp_path,
        "git",
        "clone",
        "--quiet",
        "--branch",
        "main",
        "--origin",
        "team",
        str(tmp_path / "team.git"),
        "colleague",
    )
    sh(colleague, "dvc", "exp", "pull", "team", "--all-commits")
    output = sh(colleague, "bind-an-audio", "sync", "--all")
    synced = {run.data.tags["experiment"] for run in found(colleague, REVISIONS_EXPERIMENT, "")}
    assert {"commit", "rate-1", "long", "fewer", "untried"} <= synced, output
    client = store(colleague)
    (run,) = found(colleague, REVISIONS_EXPERIMENT, "tags.experiment = 'long'")
    assert [one.path for one in client.list_artifacts(run.info.run_id, "metrics/listening")] == [
        "metrics/listening/index.html"
    ]
    assert run.data.tags["machines"] != "unknown"
    sh(colleague, "git", "checkout", "--quiet", "few-draws")
    sh(colleague, "dvc", "pull")
    assert stages_run(sh(colleague, "dvc", "repro", BIND_AN_AUDIO_TRACKING="off")) == []
    assert os.path.getsize(colleague / "metrics/listening/index.html") > 10_000
