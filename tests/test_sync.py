import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from stages.commands.main import main
from stages.commands.sync import REVISIONS_EXPERIMENT, read_metrics
from stages.tracking.machines import read_machines
from stages.tracking.revisions import flat_params, lock_hashes, read_yaml

SCRIPT = """
import json, os, pathlib, yaml
import stages.tracking.machines
from stages.tracking.stage_runs import log_stage
epochs = yaml.safe_load(open("params.yaml"))["train_b"]["epochs"]
metrics = {"experiment_b": {"fad": 10 / epochs}, "note": "text"}
json.dump(metrics, open("metrics/evaluation.json", "w"))
pathlib.Path("metrics/listening").mkdir()
pathlib.Path("metrics/listening/index.html").write_text(f"<footer>\\n<p>{epochs} epochs</p></footer>")
stages.tracking.machines.processor = lambda: os.environ["PROCESSOR"]
log_stage("evaluate", {"train_b": {"epochs": epochs}}, metrics)
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


def shell(*words: str, folder: Path, processor: str = "Abacus") -> str:
    environment = os.environ | {"PROCESSOR": processor}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def origin(tmp_path_factory, empty_store):
    """A DVC repository of two commits with a lock, one before them without, and one experiment of the last.

    The experiment ran on another machine than the commits.
    """
    folder = tmp_path_factory.mktemp("origin")
    shell("git", "init", "-q", folder=folder)
    shell("dvc", "init", "-q", folder=folder)
    shutil.copy(empty_store, folder)
    (folder / ".gitignore").write_text("mlflow.db*\nmlartifacts/\n.cache/\n")
    for name in ("metrics", "presets", "data"):
        (folder / name).mkdir()
    (folder / "metrics" / "machines.json").write_text("{}")
    (folder / "presets" / "short.yaml").write_text(PARAMS.format(2))
    (folder / "data" / "corpus.txt").write_text("three slow rings\n")
    (folder / "evaluate.py").write_text(SCRIPT)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text(PARAMS.format(1))
    shell("git", "add", "-A", folder=folder)
    shell("git", "commit", "-qm", "Pipeline", folder=folder)
    for epochs in (2, 4):
        (folder / "params.yaml").write_text(PARAMS.format(epochs))
        shell("dvc", "repro", "-q", folder=folder)
        shell("git", "add", "-A", folder=folder)
        shell("git", "commit", "-qm", f"Train B for {epochs} epochs", folder=folder)
    shell("dvc", "exp", "run", "-q", "-n", "longer", "-S", "train_b.epochs=5", folder=folder, processor="Babbage")
    shell("git", "checkout", "-q", ".", folder=folder)
    shell("dvc", "checkout", "-q", folder=folder)
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
    shell("git", "clone", "-q", str(origin), str(folder), folder=tmp_path)
    shell("git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*", folder=folder)
    shutil.copy(empty_store, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def monorepo(origin, empty_store, tmp_path, monkeypatch):
    """A git repository whose DVC repository is a folder of it, run once; that folder is the test's working folder."""
    folder = tmp_path / "monorepo" / "sound"
    folder.mkdir(parents=True)
    shell("git", "init", "-q", folder=folder.parent)
    shell("dvc", "init", "-q", "--subdir", folder=folder)
    for name in (".gitignore", "dvc.yaml", "evaluate.py", "params.yaml", "data", "presets"):
        (shutil.copytree if (origin / name).is_dir() else shutil.copy)(origin / name, folder / name)
    (folder / "metrics").mkdir()
    shutil.copy(empty_store, folder)
    monkeypatch.chdir(folder)
    shell("dvc", "repro", "-q", folder=folder)
    shell("git", "add", "-A", folder=folder)
    shell("git", "commit", "-qm", "In a folder of its own", folder=folder)
    return folder


MARKS = b"<<<<<<< HEAD\nstages: {}\n=======\nstages: {}\n>>>>>>> other\n"
NO_LOCK = [
    MARKS,
    b"a: [1",
    b"- 1",
    b"stages: 3",
    b"stages: {evaluate: {deps: [{md5: 1}], outs: [{md5: 1}]}}",
    b"stages: [1]",
    b"\xff: : 1",
]


def commit_each(folder: Path, contents: dict[str, list[bytes]]) -> dict[str, str]:
    """Commit each content of each file, with all other files as they were; return the commits with the file's name."""
    hashes = {}
    for name, several in contents.items():
        before = (folder / name).read_bytes()
        for content in several:
            (folder / name).write_bytes(content)
            shell("git", "commit", "-qam", name, folder=folder)
            hashes[shell("git", "rev-parse", "HEAD", folder=folder)] = name
        (folder / name).write_bytes(before)
    shell("git", "commit", "-qam", "As before", folder=folder)
    return hashes


def tags(folder: Path, experiment: str):
    (tags,) = [run.data.tags for run in runs(folder)[1] if run.data.tags["experiment"] == experiment]
    return tags


def artifacts(client, run_id: str, path: str | None = None) -> list[str]:
    found = client.list_artifacts(run_id, path)
    return [name for one in found for name in (artifacts(client, run_id, one.path) if one.is_dir else [one.path])]


def runs(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(REVISIONS_EXPERIMENT)
    return client, client.search_runs([experiment.experiment_id])


def test_head_and_its_experiment_are_logged_once_with_params_metrics_and_origin(clone, capsys):
    main(["sync"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 logged, 0 already there")
    head = shell("git", "rev-parse", "HEAD", folder=clone)
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
    assert again.data.tags["revision"] == shell("git", "rev-parse", "HEAD", folder=clone)


def test_a_revision_without_a_lock_is_said_and_left_out(clone, capsys):
    main(["sync", "HEAD~2"])
    first, last = capsys.readouterr().out.splitlines()
    assert "left out" in first
    assert last.startswith("0 logged")


def test_a_revisions_run_tells_its_machine_preset_hashes_and_way_back(clone, capsys):
    main(["sync"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "other machine" in line] == [
        "  other machine than its baseline's: evaluate; last digits may differ"
    ]
    commit, longer = tags(clone, "commit"), tags(clone, "longer")
    assert commit["machines"].startswith("Abacus")
    assert longer["machines"].startswith("Babbage")
    assert (commit["other_machine_than_baseline"], longer["other_machine_than_baseline"]) == ("no", "evaluate")
    assert longer["corpus"] == "bells"
    assert (longer["preset"], longer["preset_changes"]) == ("short", "train_b.epochs=5")
    assert "dvc exp apply" in longer["mlflow.note.content"]
    lock = (clone / "dvc.lock").read_text()
    for key in ("dep.data/corpus.txt", "out.metrics/evaluation.json", "out.metrics/listening"):
        assert f"md5: {commit[key]}\n" in lock


def test_datasets_carry_dvcs_md5(clone):
    main(["sync", "HEAD"])
    _, (run,) = runs(clone)
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == "data/corpus.txt"
    assert given.dataset.digest == run.data.tags["dep.data/corpus.txt"]


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
    shell("dvc", "exp", "run", "-q", "-n", "restored", "-S", "train_b.epochs=2", folder=copy)
    main(["sync", "restored", "longer", "HEAD~1"])
    client = MlflowClient(f"sqlite:///{copy / 'mlflow.db'}")
    stage_run = client.get_run(tags(copy, "restored")["run.evaluate"])
    assert stage_run.data.params["train_b.epochs"] == "2"
    assert stage_run.data.tags["experiment"] == "workspace"
    assert stage_run.data.tags["revision"] == tags(copy, "restored")["revision"]
    assert tags(copy, "commit")["run.evaluate"] == stage_run.info.run_id
    longer = client.get_run(tags(copy, "longer")["run.evaluate"])
    parent = client.get_run(longer.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["experiment"] == "longer"
    assert parent.data.tags["revision"] == longer.data.tags["revision"] == tags(copy, "longer")["revision"]


def test_a_dvc_repository_in_a_folder_of_gits_is_logged_whole(monorepo, capsys):
    for folder in (monorepo, monorepo / "data"):
        os.chdir(folder)
        main(["sync", "--all"])
    first, last = capsys.readouterr().out.splitlines()[1::2]
    assert first.startswith("1 logged, 0 already there")
    assert last.startswith("0 logged, 1 already there")
    client, (run,) = runs(monorepo)
    assert run.data.metrics["evaluation.experiment_b.fad"] == 2.5
    assert run.data.params == {"prepare.corpus": "bells", "train_b.epochs": "4"}
    assert (run.data.tags["preset"], run.data.tags["machines"][:6]) == ("default", "Abacus")
    assert {"params.yaml", "dvc.lock", "metrics/evaluation.json", "metrics/listening/index.html"} <= set(
        artifacts(client, run.info.run_id)
    )
    (stage_run,) = client.search_runs(
        [client.get_experiment_by_name("bind-an-audio").experiment_id], "tags.kind='stage'"
    )
    assert run.data.tags["run.evaluate"] == stage_run.info.run_id


def test_the_committed_params_of_a_monorepo_are_found_by_the_stage_itself(monorepo):
    (monorepo / "params.yaml").write_text(PARAMS.format(7))
    shell("dvc", "repro", "-q", folder=monorepo)
    client = MlflowClient(f"sqlite:///{monorepo / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bind-an-audio").experiment_id
    newest = client.search_runs([experiment], "tags.kind='stage'")[0]
    assert newest.data.tags["preset_changes"] == "train_b.epochs=7"


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


@pytest.mark.parametrize("content", NO_LOCK)
def test_a_lock_that_cannot_be_read_is_one_line_with_its_name(content):
    for kind in ("deps", "outs"):
        with pytest.raises(ValueError, match=r"^dvc\.lock of abc: ") as caught:
            lock_hashes(content.decode(errors="replace"), kind, "dvc.lock of abc")
        assert "\n" not in str(caught.value)


@given(st.text())
def test_whatever_stands_in_an_old_file_of_dvcs_it_is_read_or_one_line(text):
    for read in (lambda: lock_hashes(text, "outs"), lambda: read_yaml(text, "params.yaml")):
        try:
            assert isinstance(read(), dict)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert isinstance(flat_params(text), dict)
    assert isinstance(read_machines(text), dict)


@pytest.mark.parametrize("content", [b"[1]", b"\xff", MARKS, b"3", b'{"a": {"b": "text"}}'])
def test_metrics_that_cannot_be_read_are_left_out(tmp_path, content):
    (tmp_path / "odd.json").write_bytes(content)
    (tmp_path / "train_b.json").write_text('{"epoch": 3}')
    found = read_metrics(tmp_path, ["odd.json", "train_b.json", "missing.json"])
    assert {name: value for name, value in found.items() if not name.startswith("odd")} == {"train_b.epoch": 3.0}


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
    [(200, b"<html>"), (200, b"{}"), (200, b'{"experiment": 3}'), (404, b"<html>"), "dead", "not a db"],
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


def test_show_prints_a_system_a_line_and_where_to_look(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    values = {"real": {"source_accuracy": 0.91}, "experiment_b": {"fad": 1.25, "source_accuracy": 0.4}, "captions": 3}
    (tmp_path / "metrics" / "evaluation.json").write_text(json.dumps(values))
    main(["show"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["system", "source_accuracy", "fad"],
        ["real", "0.910", "-"],
        ["experiment_b", "0.400", "1.250"],
    ]
    assert any("metrics/listening/index.html" in line for line in lines)
    assert "On which machine this was made is not known." in lines
    main(["show", "--markdown"])
    assert capsys.readouterr().out.splitlines() == [
        "| system | source_accuracy | fad |",
        "| --- | --- | --- |",
        "| real | 0.910 | - |",
        "| experiment_b | 0.400 | 1.250 |",
    ]
    assert any(f"sqlite:///{tmp_path}/mlflow.db" in line for line in lines)


def test_the_console_command_ends_a_users_mistake_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from stages.commands.main import entry; entry()", "show"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: metrics/evaluation.json: no such file; has the stage that writes it run (`dvc repro`)?"
    ]


def test_help_starts_without_heavy_packages():
    code = (
        "import sys\nfrom stages.commands.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'mlflow', 'dvc', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout
