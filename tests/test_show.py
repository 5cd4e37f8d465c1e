"""`bind-an-audio show` and the console command itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stages.commands.main import from_root, main
from stages.formats.files import write_json
from stages.tracking.machines import outputs_digest


def test_show_prints_a_system_a_line_and_where_to_look(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    values = {"real": {"source_accuracy": 0.91}, "experiment_b": {"fad": 1.25, "source_accuracy": 0.4}}
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
    assert any(f"sqlite:///{tmp_path}/mlflow.db" in line for line in lines)
    assert lines[-1].endswith("/#/experiments?workflowType=machine_learning")


def test_show_leads_to_the_stages_runs_once_there_are_some(empty_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, "mlflow.db")
    made = MlflowClient("sqlite:///mlflow.db").create_experiment("bind-an-audio")
    write_json("metrics/evaluation.json", {"real": {"fad": 1.25}})
    main(["show"])
    assert capsys.readouterr().out.endswith(f"/#/experiments/{made}/runs?workflowType=machine_learning\n")


@pytest.mark.parametrize(("md5", "told"), [("b1", True), ("b2", False)])
def test_show_tells_how_fast_the_clips_were_made_that_are_there(empty_store, tmp_path, monkeypatch, capsys, md5, told):
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tags = {"stage": "sample_b", "outputs": outputs_digest({"data/samples/b": "b1"})}
    run = client.create_run(client.create_experiment("bind-an-audio"), tags=tags).info.run_id
    for key, value in {"experiment_b_real_time_factor": 0.25, "peak_memory_gigabytes": 1.34}.items():
        client.log_metric(run, key, value)
    lock = f"schema: '2.0'\nstages:\n  sample_b:\n    outs:\n    - {{path: data/samples/b, md5: {md5}}}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    write_json("metrics/evaluation.json", {"real": {"fad": 1.25}})
    main(["show"])
    line = "Audio sampled in a second: experiment_b 4.0 s (real-time factor 0.25; 1.3 GB at most)."
    assert (line in capsys.readouterr().out.splitlines()) == told


def test_show_works_from_a_folder_of_the_repository(tmp_path, monkeypatch, capsys):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "evaluation.json").write_text('{"real": {"fad": 1.25}}')
    monkeypatch.chdir(tmp_path / "metrics")
    main(["show"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["real", "1.250"]


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


def test_a_command_in_a_subfolder_names_the_way_to_the_root(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    with pytest.raises(ValueError, match=rf"metrics/evaluation\.json: no such file here; .*`cd {tmp_path}`"):
        from_root(["show"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        from_root(["show"])
