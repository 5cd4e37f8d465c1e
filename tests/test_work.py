"""The folder of a stage's checkpoints: the same for the same inputs, and no day's training is left aside in silence."""

import shutil
import subprocess

import pytest

from stages.training.work import remove_work, work_folder

PIPELINE = (
    "stages:\n  train_b:\n    cmd: python -m stages.train_b\n    deps: [loop.py, data.txt]\n    params: [train_b]\n"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A stage of two inputs; the working folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", "train_b: {epochs: 3}\n"), ("loop.py", "a = 1\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "data.txt").write_text("bells\n")
    return tmp_path


def test_the_same_inputs_have_the_same_folder_and_nothing_is_said(project, capsys):
    first = work_folder("train_b")
    (first / "train_b.safetensors").write_bytes(b"a day's work")
    assert work_folder("train_b") == first
    assert capsys.readouterr().out == ""


def test_after_an_edit_it_is_said_what_differs_and_the_command_brings_the_checkpoint_back(project, capsys):
    before = work_folder("train_b")
    (before / "train_b.safetensors").write_bytes(b"a day's work")
    (project / "loop.py").write_text("a = 1  # one\n")
    after = work_folder("train_b")
    said = capsys.readouterr().out
    assert after != before
    assert "changed since then: loop.py. If that changes no result" in said
    assert "data.txt" not in said
    subprocess.run(said.split("`")[1], shell=True, check=True)
    assert (work_folder("train_b") / "train_b.safetensors").read_bytes() == b"a day's work"
    assert capsys.readouterr().out == ""


def test_other_params_and_finished_or_unreadable_work_are_no_news(project, capsys):
    before = work_folder("train_b")
    (before / "train_b.safetensors").write_bytes(b"a day's work")
    (project / "params.yaml").write_text("train_b: {epochs: 4}\n")
    work_folder("train_b")
    (before / "made_from.json").write_text("[1")
    (project / "data.txt").write_text("dogs\n")
    remove_work(work_folder("train_b"))
    shutil.rmtree(before)
    (project / "data.txt").write_text("birds\n")
    work_folder("train_b")
    assert capsys.readouterr().out == ""


def test_a_cache_that_cannot_be_written_is_no_reason_to_end(project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("BIND_AN_AUDIO_CACHE", str(project / "file"))
    assert not work_folder("train_b").exists()
