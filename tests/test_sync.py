import http.server
import json
import shutil
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stages.commands.main import main
from stages.commands.sync import REVISIONS_EXPERIMENT
from tests.mlflow_ui import runs_of
from tests.shell import sh
from tests.test_unreadable_revisions import MARKS

# Slow: whole repositories with DVC and MLflow.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracking")]
SCRIPT = """
import json, os, pathlib, yaml
import stages.tracking.machines
from stages.tracking.stage_runs import log_stage
epochs = yaml.safe_load(open("params.yaml"))["train_b"]["epochs"]
metrics = {"experiment_b": {"fad": 10 / epochs}, "note": "text"}
json.dump(metrics, open("metrics/evaluation.json", "w"))
pathlib.Path("metrics/listening").mkdir()
pathlib.Path("metrics/listening/index.html").write_text(f"<footer>\\n<p>{epochs} epochs</p></footer>")
stages.tracking.machines.processor = lambda: os.environ.get("PROCESSOR", "Abacus")
log_stage("evaluate", metrics)
"""
PIPELINE = """
stages:
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py, data/corpus.txt]
    params: [train_b]
    outs: [metrics/listening]
    metrics:
      - metrics/evaluation.json: {cache: false}
"""
PARAMS = "prepare:\n  corpus: bells\ntrain_b:\n  epochs: {}\n"


def lay_out_pipeline(folder: Path, empty_store: Path) -> None:
    """A pipeline of one stage in an empty folder, with a store and a preset, not yet run."""
    for name in ("metrics", "presets", "data"):
        (folder / name).mkdir()
    (folder / ".gitignore").write_text("mlflow.db*\nmlartifacts/\n.cache/\n")
    (folder / "presets" / "short.yaml").write_text(PARAMS.format(2))
    (folder / "data" / "corpus.txt").write_text("three slow rings\n")
    (folder / "evaluate.py").write_text(SCRIPT)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text(PARAMS.format(4))
    shutil.copy(empty_store, folder / "mlflow.db")


@pytest.fixture(scope="module")
def origin(tmp_path_factory, empty_store):
    """A DVC repository of two commits with a lock, one before them without, and one experiment of the last.

    The experiment ran on another machine than the commits.
    """
    folder = tmp_path_factory.mktemp("origin")
    sh(folder, "git", "init", "-q")
    sh(folder, "dvc", "init", "-q")
    lay_out_pipeline(folder, empty_store)
    (folder / "metrics" / "machines.json").write_text("{}")
    (folder / "params.yaml").write_text(PARAMS.format(1))
    sh(folder, "git", "add", "-A")
    sh(folder, "git", "commit", "-qm", "Pipeline")
    for epochs in (2, 4):
        (folder / "params.yaml").write_text(PARAMS.format(epochs))
        sh(folder, "dvc", "repro", "-q")
        sh(folder, "git", "add", "-A")
        sh(folder, "git", "commit", "-qm", f"Train B for {epochs} epochs")
    sh(folder, "dvc", "exp", "run", "-q", "-n", "longer", "-S", "train_b.epochs=5", PROCESSOR="Babbage")
    sh(folder, "git", "checkout", "-q", ".")
    sh(folder, "dvc", "checkout", "-q")
    return folder


@pytest.fixture
def copy(origin, tmp_path, monkeypatch):
    """The origin itself, with DVC's cache and the stages' MLflow runs; the working folder of the test."""
    shutil.copytree(origin, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def clone(origin, empty_store, tmp_path, monkeypatch):
    """A clone with the experiment but without DVC's cache; the working folder of the test."""
    folder = tmp_path / "clone"
    sh(tmp_path, "git", "clone", "-q", str(origin), str(folder))
    sh(folder, "git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


def commit_each(folder: Path, contents: dict[str, list[bytes]]) -> dict[str, str]:
    """Commit each content of each file, with all other files as they were; return the commits with the file's name."""
    hashes = {}
    for name, several in contents.items():
        before = (folder / name).read_bytes()
        for content in several:
            (folder / name).write_bytes(content)
            sh(folder, "git", "commit", "-qam", name)
            hashes[sh(folder, "git", "rev-parse", "HEAD").strip()] = name
        (folder / name).write_bytes(before)
    sh(folder, "git", "commit", "-qam", "As before")
    return hashes


def tags(folder: Path, experiment: str):
    (tags,) = [run.data.tags for run in runs(folder)[1] if run.data.tags["experiment"] == experiment]
    return tags


def artifacts(client, run_id: str, path: str | None = None) -> list[str]:
    found = client.list_artifacts(run_id, path)
    return [name for one in found for name in (artifacts(client, run_id, one.path) if one.is_dir else [one.path])]


def runs(folder: Path):
    return runs_of(folder, REVISIONS_EXPERIMENT)


def test_head_and_its_experiment_are_logged_once_with_params_metrics_and_origin(clone, capsys):
    main(["sync"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 logged, 0 already there")
    head = sh(clone, "git", "rev-parse", "HEAD").strip()
    _, logged = runs(clone)
    found = {
        run.data.tags["experiment"]: (
            run.data.params["train_b.epochs"],
            run.data.metrics["evaluation.experiment_b.fad"],
            run.data.tags["baseline"],
        )
        for run in logged
    }
    assert found == {"commit": ("4", 2.5, head), "longer": ("5", 2.0, head)}
    main(["sync"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 logged, 2 already there")
    assert len(runs(clone)[1]) == 2


def test_all_adds_every_commit_with_a_lock_and_nothing_twice(clone, capsys):
    main(["sync", "longer"])
    main(["sync", "--all"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 logged, 1 already there")
    assert sorted(run.data.metrics["evaluation.experiment_b.fad"] for run in runs(clone)[1]) == [2.0, 2.5, 5.0]


def test_an_interrupted_sync_is_made_good(clone):
    main(["sync", "HEAD"])
    client, (run,) = runs(clone)
    client.delete_tag(run.info.run_id, "revision")
    main(["sync", "HEAD"])
    _, (again,) = runs(clone)
    assert again.info.run_id != run.info.run_id
    assert again.data.tags["revision"] == sh(clone, "git", "rev-parse", "HEAD").strip()


def test_a_revision_without_a_lock_is_said_and_left_out(clone, capsys):
    main(["sync", "HEAD~2"])
    first, last = capsys.readouterr().out.splitlines()
    assert "left out" in first
    assert last.startswith("0 logged")


def test_a_revisions_run_tells_its_machine_preset_hashes_and_way_back(clone, capsys):
    main(["sync"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "other machine" in line] == [
        "  other machine or number of threads than its baseline's: evaluate; last digits may differ"
    ]
    commit, longer = tags(clone, "commit"), tags(clone, "longer")
    assert commit["machines"].startswith("Abacus")
    assert longer["machines"].startswith("Babbage")
    assert (commit["other_machine_than_baseline"], longer["other_machine_than_baseline"]) == ("no", "evaluate")
    assert longer["corpus"] == "bells"
    assert (longer["preset"], longer["preset_changes"]) == ("short", "train_b.epochs=5")
    assert "dvc exp apply" in longer["mlflow.note.content"]
    assert len([tag for tag in longer if not tag.startswith("mlflow.")]) <= 12


def test_datasets_carry_dvcs_md5(clone):
    main(["sync", "HEAD"])
    _, (run,) = runs(clone)
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == "data/corpus.txt"
    assert f"md5: {given.dataset.digest}\n" in (clone / "dvc.lock").read_text()


def test_page_and_plots_are_artifacts_and_the_copy_of_the_page_names_the_machine(copy):
    before = (copy / "metrics/listening/index.html").read_text()
    main(["sync", "HEAD"])
    client, (run,) = runs(copy)
    assert {"params.yaml", "dvc.lock", "metrics/evaluation.json", "metrics/listening/index.html"} <= set(
        artifacts(client, run.info.run_id)
    )
    page = Path(client.download_artifacts(run.info.run_id, "metrics/listening/index.html")).read_text()
    assert "4 epochs" in page
    assert "Made on Abacus" in page
    assert (copy / "metrics/listening/index.html").read_text() == before


def test_a_clone_without_the_cache_logs_what_git_holds(clone):
    main(["sync", "HEAD"])
    client, (run,) = runs(clone)
    found = artifacts(client, run.info.run_id)
    assert "metrics/evaluation.json" in found
    assert "metrics/listening/index.html" not in found


def test_stage_run_and_revision_name_each_other_also_where_dvc_restored_the_outputs(copy):
    # 2 epochs ran for the commit before: DVC restores them from its run cache and no stage runs.
    sh(copy, "dvc", "exp", "run", "-q", "-n", "restored", "-S", "train_b.epochs=2")
    main(["sync", "restored", "longer", "HEAD~1"])
    client = MlflowClient(f"sqlite:///{copy / 'mlflow.db'}")
    stage_run = client.get_run(json.loads(tags(copy, "restored")["stage_runs"])["evaluate"])
    assert stage_run.data.params["train_b.epochs"] == "2"
    assert stage_run.data.tags["experiment"] == "workspace"
    assert stage_run.data.tags["revision"] == tags(copy, "restored")["revision"]
    assert json.loads(tags(copy, "commit")["stage_runs"])["evaluate"] == stage_run.info.run_id
    longer = client.get_run(json.loads(tags(copy, "longer")["stage_runs"])["evaluate"])
    parent = client.get_run(longer.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["experiment"] == "longer"
    assert parent.data.tags["revision"] == longer.data.tags["revision"] == tags(copy, "longer")["revision"]


def test_all_goes_on_past_what_nobody_can_read_and_says_so(clone, capsys):
    broken = commit_each(clone, {"dvc.lock": [MARKS, b"- 1"], "params.yaml": [MARKS], "dvc.yaml": [MARKS]})
    odd = commit_each(clone, {"metrics/evaluation.json": [MARKS], "presets/short.yaml": [MARKS]})
    main(["sync", "--all"])
    lines = capsys.readouterr().out.splitlines()
    left_out = {line[:7]: line for line in lines if ": left out: " in line}
    assert {sha[:7]: name in left_out[sha[:7]] for sha, name in broken.items()} == dict.fromkeys(left_out, True)
    logged = {run.data.tags["revision"]: run for run in runs(clone)[1]}
    assert lines[-1].startswith(f"{len(logged)} logged, 0 already there, {len(broken)} left out")
    assert odd.keys() <= logged.keys()
    assert sum("metrics/evaluation.json: not JSON" in line for line in lines) == 1


@pytest.mark.parametrize("content", [MARKS, b"stages: 3"])
@pytest.mark.parametrize("words", [["show"], ["plots"]])
def test_todays_dvc_lock_that_cannot_be_read_is_one_line(clone, words, content):
    (clone / "metrics" / "evaluation.json").write_text("{}")
    (clone / "dvc.lock").write_bytes(content)
    with pytest.raises(ValueError, match=r"^dvc\.lock: ") as caught:
        main(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml"])
def test_what_is_committed_is_logged_whatever_lies_in_the_working_folder(clone, name):
    (clone / name).write_bytes(MARKS)
    main(["sync", "HEAD"])
    assert len(runs(clone)[1]) == 1


class Garbled(http.server.BaseHTTPRequestHandler):
    """A server that answers everything alike, and no MLflow's answer."""

    status, body = 200, b""

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_arguments):
        pass


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>"), (200, b"{}"), (200, b'{"experiment": 3}'), (404, b"<html>"), (500, b"oops"), "dead", "not a db"],
)
def test_a_store_that_does_not_work_is_one_line(clone, monkeypatch, answer):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Garbled) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://me:secret@127.0.0.1:{server.server_port}"
        if isinstance(answer, tuple):
            monkeypatch.setattr(Garbled, "status", answer[0])
            monkeypatch.setattr(Garbled, "body", answer[1])
        elif answer == "dead":
            uri = "http://me:secret@127.0.0.1:9"
        else:
            (clone / "mlflow.db").write_bytes(b"nothing of the kind")
            uri = f"sqlite:///{clone / 'mlflow.db'}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI") as caught:
            main(["sync"])
        server.shutdown()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["no-such-thing"], "no-such-thing: neither a commit nor"), (["--all", "HEAD"], "--all and REV exclude")],
)
def test_a_wrong_revision_gets_one_clear_line(clone, words, message):
    with pytest.raises(ValueError, match=message):
        main(["sync", *words])


def test_outside_a_repository_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="run from the repository's root"):
        main(["sync"])


def test_all_means_ones_own_commits_unless_it_is_asked_for_everyones(clone, monkeypatch):
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "newcomer@example.org")
    main(["sync", "--all"])
    assert {run.data.tags["experiment"] for run in runs(clone)[1]} == {"longer"}
    main(["sync", "--all", "--everyone"])
    assert len(runs(clone)[1]) == 3
    with pytest.raises(ValueError, match="--everyone goes with --all"):
        main(["sync", "--everyone"])


def test_a_repository_that_was_moved_writes_its_artifacts_beside_itself(copy, tmp_path, monkeypatch, capsys):
    main(["sync", "HEAD"])
    (copy).rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    monkeypatch.chdir(moved)
    main(["sync", "longer"])
    assert f"{moved}/mlflow.db: was made in " in capsys.readouterr().out
    client, found = runs(moved)
    for run in found:
        assert run.info.artifact_uri.startswith(f"{moved.as_uri()}/")
        assert "dvc.lock" in artifacts(client, run.info.run_id)
    assert not copy.exists()
