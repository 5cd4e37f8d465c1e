import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.params.schema import load_params
from stages.tracking.dependencies import content_md5, read_and_written
from stages.tracking.machines import (
    MACHINES,
    UNKNOWN,
    comparison_sentence,
    differing_stages,
    machine_sentence,
    machines_of,
    processor,
    read_machines,
)
from stages.tracking.mlflow_store import flatten, repository_root
from stages.tracking.revisions import corpus_and_preset
from stages.tracking.stage_runs import log_stage
from tests.mlflow_ui import runs_of

pytestmark = pytest.mark.usefixtures("tracking")
ROOT = Path(__file__).parent.parent
PIPELINE = """
stages:
  train_b:
    cmd: python -m stages.train_b
    deps: [data/text.txt, "data/${prepare.corpus}"]
    params: [train_b]
    outs: [models/b]
    metrics:
      - metrics/train_b.json: {cache: false}
"""
CURVE = [{"epoch": epoch, "validation_loss": 1 / epoch} for epoch in range(1, 4)]


@pytest.fixture
def folder(tmp_path, empty_store, monkeypatch):
    """A working folder with params.yaml, a pipeline of one stage, its inputs, and a store of its own."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "data" / "soundworld").mkdir(parents=True)
    (tmp_path / "data" / "text.txt").write_text("three slow rings\n")
    (tmp_path / "data" / "soundworld" / "b.txt").write_text("b")
    (tmp_path / "data" / "soundworld" / "a.txt").write_text("a")
    (tmp_path / "presets").mkdir()
    preset = re.sub(r"(sample:\n  seed: )\d+", r"\g<1>97", (ROOT / "params.yaml").read_text())
    (tmp_path / "presets" / "loud.yaml").write_text(preset)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "b").write_text("weights")
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(folder, kind):
    return runs_of(folder, query=f"tags.kind = '{kind}'")


def log(loss=0.5):
    log_stage("train_b", {"loss": loss, "nested": {"r1": 1}, "note": "text"}, {"curve": CURVE})


def test_a_stage_is_logged_with_params_metrics_curve_and_hashes_under_its_parent(folder):
    log()
    client, (child,) = runs(folder, "stage")
    _, (parent,) = runs(folder, "pipeline")
    assert child.data.params["train_b.loss_weights.mse"] == "2.0"
    assert {key.split(".")[0] for key in child.data.params} == {"train_b"}
    assert child.data.metrics["loss"] == 0.5
    assert 0.1 < child.data.metrics["peak_memory_gigabytes"] < 100
    assert child.data.metrics["nested.r1"] == 1
    points = client.get_metric_history(child.info.run_id, "curve/validation_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    hashes = json.loads((folder / client.download_artifacts(child.info.run_id, "dvc.json")).read_text())
    assert hashes["dependencies"]["data/text.txt"] == content_md5(folder / "data" / "text.txt")
    assert hashes["dependencies"]["data/soundworld"].endswith(".dir")
    assert hashes["outputs"]["models/b"] == content_md5(folder / "models" / "b")
    inputs = {one.dataset.name: one.dataset.digest for one in child.inputs.dataset_inputs}
    assert inputs == read_and_written("train_b")[0]["deps"]
    assert child.data.tags["experiment"] == "workspace"
    assert (child.data.tags["corpus"], child.data.tags["preset"]) == ("soundworld", "loud")
    assert child.data.tags["preset_changes"] == f"sample.seed={load_params().sample.seed}"
    assert child.data.tags["machine"].startswith(processor())
    assert child.info.run_name.startswith("train_b workspace ")
    assert len([tag for tag in child.data.tags if not tag.startswith("mlflow.")]) <= 12
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == parent.info.status == "FINISHED"
    assert parent.data.metrics["train_b.loss"] == 0.5
    codec = load_params().codec
    assert codec.source == "trained"
    assert parent.data.params["codec.vae.channels"] == str(codec.vae.channels)


def test_stages_meet_under_one_parent_unless_experiment_or_params_differ(folder, monkeypatch):
    log()
    log(0.4)
    assert len(runs(folder, "pipeline")[1]) == 1
    monkeypatch.setenv("DVC_EXP_NAME", "longer")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "a" * 40)
    log()
    (named,) = [run for run in runs(folder, "pipeline")[1] if run.data.tags["experiment"] == "longer"]
    assert named.data.tags["baseline"] == "a" * 40
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(re.sub(r"(?m)^  epochs: .*$", "  epochs: 13", text))
    log()
    assert len(runs(folder, "pipeline")[1]) == 3


def test_the_newest_result_counts_also_after_the_clock_was_put_back(folder, monkeypatch):
    log(0.5)
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    for loss in (0.4, 0.3):
        log(loss)
        _, (parent,) = runs(folder, "pipeline")
        assert parent.data.metrics["train_b.loss"] == loss


def test_a_run_whose_process_went_without_a_word_is_marked_by_the_next_stage(folder):
    log()
    client, (run,) = runs(folder, "stage")
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process, expected in ((os.getppid(), "RUNNING"), (ended.pid, "KILLED")):
        client.update_run(run.info.run_id, status="RUNNING")
        client.set_tag(run.info.run_id, "process", f"{socket.gethostname()} {process}")
        log()
        assert client.get_run(run.info.run_id).info.status == expected


def test_temporary_folders_log_into_the_users_repository(folder, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    (temporary / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(temporary)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    log()
    assert len(runs(folder, "stage")[1]) == 1
    assert not list(temporary.glob("mlflow*"))


def test_code_and_params_that_differ_from_the_commit_are_marked_dirty(folder):
    def commit():
        subprocess.run(["git", "add", "-A"], check=True)
        subprocess.run(["git", "commit", "-qm", "x"], check=True)

    subprocess.run(["git", "init", "-q"], check=True)
    commit()
    (folder / "data" / "text.txt").write_text("an output changes while a pipeline runs\n")
    log(1.0)
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text() + "# a remark\n")
    log(2.0)
    dirty = {run.data.metrics["loss"]: run.data.tags["dirty"] for run in runs(folder, "stage")[1]}
    assert dirty == {1.0: "no", 2.0: "yes"}


def test_tracking_off_leaves_no_trace(folder, monkeypatch):
    (folder / "mlflow.db").unlink()
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "off")
    log()
    assert not (folder / "mlflow.db").exists()


def test_an_unreachable_server_costs_one_line_and_not_the_stage(folder, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    log()
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("warning: train_b is done, but MLflow")] == lines[-1:]
    assert "Traceback" not in "\n".join(lines)


@pytest.mark.slow
def test_four_processes_that_all_find_no_database_log_all_under_one_parent(folder):
    (folder / "mlflow.db").unlink()
    code = "from stages.tracking.stage_runs import log_stage; log_stage('train_b', {'loss': 1.0})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "API_KEY": "never-in-the-store"}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [""] * 4
    assert len(runs(folder, "stage")[1]) == 4
    assert len(runs(folder, "pipeline")[1]) == 1
    assert b"never-in-the-store" not in (folder / "mlflow.db").read_bytes()


def test_hashes_are_dvcs_own(folder):
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["dvc", "init", "-q"], check=True)
    subprocess.run(["dvc", "add", "-q", "data/text.txt", "data/soundworld"], check=True)
    hashes = read_and_written("train_b")[0]["deps"]
    for name, md5 in hashes.items():
        assert f"md5: {md5}\n" in (folder / f"{name}.dvc").read_text()
    assert len(hashes) == 2


def test_a_folder_without_a_pipeline_has_no_hashes_and_is_its_own_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_and_written("train_b") == ({"params": {}, "deps": {}}, {})
    assert repository_root() == tmp_path
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert repository_root() == tmp_path


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), inner)))
def test_flattening_keeps_every_leaf_at_its_dotted_path(tree):
    tree = tree if isinstance(tree, dict) else {"a": tree}

    def leaves(value):
        return sum(map(leaves, value.values())) if isinstance(value, dict) else 1

    flat = flatten(tree)
    assert len(flat) == leaves(tree)
    for path, value in flat.items():
        found = tree
        for key in path.split("."):
            found = found[key]
        assert found == value


def test_the_machine_of_a_stages_outputs_is_noted_also_without_tracking(folder, monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "off")
    log()
    known = read_machines((folder / MACHINES).read_text())
    outputs = {name: content_md5(folder / name) for name in ("models/b", "metrics/train_b.json")}
    assert machines_of({"train_b": outputs}, known)["train_b"].startswith(processor())
    restored = {**outputs, "models/b": "0" * 32}
    assert machines_of({"train_b": restored, "embed": {}}, known) == {"train_b": UNKNOWN, "embed": UNKNOWN}


def test_stages_that_end_at_once_are_all_noted(tmp_path):
    code = (
        "import sys; from pathlib import Path; from stages.tracking.machines import record_machine\n"
        "for number in range(40): record_machine(sys.argv[1] + str(number), {}, {}, Path(sys.argv[2]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, name, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)})
        for name in "abcd"
    ]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    assert len(read_machines((tmp_path / MACHINES).read_text())) == 160


def test_only_stages_known_to_have_run_on_two_machines_differ():
    first = {"codec": "Abacus", "train_a": "Abacus", "train_b": UNKNOWN}
    assert differing_stages(first, {"codec": "Babbage", "train_a": "Abacus", "train_b": "Babbage"}) == ["codec"]


def test_machines_of_a_file_with_conflict_marks_are_unknown():
    assert read_machines("<<<<<<< HEAD\n{}") == {}


def test_a_processor_is_named_with_family_and_model(tmp_path):
    facts = tmp_path / "cpuinfo"
    block = "processor\t: {}\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon\n\n"
    facts.write_text(block.format(0) + block.format(1).replace("85", "86"))
    assert processor(facts) == "Xeon (family 6 model 85)"


def test_sentences_name_machines_and_where_they_differ():
    one = {"quality": "Abacus", "codec": "Abacus, AVX2, 2 threads", "train_b": UNKNOWN}
    assert machine_sentence(one) == "Made on Abacus, AVX2, 2 threads. Not known: train_b."
    two = {"quality": "Abacus", "codec": "Babbage, AVX2, 2 threads"}
    assert machine_sentence(two).startswith("Made on 2 machines, so last digits may differ: Abacus (quality); ")
    lanes = {"codec": "Abacus, AVX2, 1 thread", "embed": "Abacus, AVX2, 2 threads"}
    assert machine_sentence(lanes).startswith("Made on one machine with different numbers of threads, so last digits ")
    assert "were made with other numbers of threads" in comparison_sentence(("HEAD", "lanes"), (one, lanes))
    assert "were made on two machines" in comparison_sentence(("HEAD", "longer"), (one, two))
    assert machine_sentence({}) == "On which machine this was made is not known."
    assert "no stage is known" in comparison_sentence(("HEAD", "longer"), (one, one))
    assert "codec: Abacus, AVX2, 2 threads / Babbage" in comparison_sentence(("HEAD", "longer"), (one, two))


def test_the_nearest_preset_is_the_one_with_the_fewest_changes():
    presets = {"smoke": {"a": 1, "b": 1, "c": 1}, "esc10": {"a": 2, "b": 2, "c": 2}}
    tags = {"corpus": "none", "preset": "esc10", "preset_changes": "c=9"}
    assert corpus_and_preset({"a": 2, "b": 2, "c": 9}, presets, {}) == tags
    changed = {"a": 3, "b": 1, "c": 1, "train_b.epochs": 3}
    tags = {"corpus": "none", "preset": "smoke", "preset_changes": "a=3 train_b.epochs=3"}
    assert corpus_and_preset(changed, presets, {}) == tags
    assert corpus_and_preset(changed, presets, changed)["preset_changes"] == "none"
