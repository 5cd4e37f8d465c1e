"""How stages and commands end where the user or the machine is at fault: one line, exit code 1."""

from __future__ import annotations

import errno
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from stages.plumbing.running import run, run_command
from tests.shell import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[a-z]*.py"))
WRITERS = {
    "plain": "open('x', 'wb').write(bytes(1_000_000))",
    "safetensors": "import torch, safetensors.torch as s; s.save_file({'a': torch.zeros(100_000)}, 'x')",
    "torch": "import torch; torch.save({'a': torch.zeros(100_000)}, 'x')",
    "torch, legacy": "import torch; torch.save({'a': torch.zeros(100_000)}, 'x', _use_new_zipfile_serialization=False)",
    "soundfile": "import soundfile as s, numpy as n; s.write('x', n.random.randn(99_999) / 9, 16_000, format='FLAC')",
    "pillow": "import PIL.Image as p, os; p.frombytes('L', (500, 500), os.urandom(250_000)).save('x', 'PNG')",
    "sqlite": "import sqlite3; sqlite3.connect('x').executescript('create table t as select zeroblob(90000)')",
    "files": "from stages.formats.files import write_text; write_text('x', 'x' * 1_000_000)",
}


def ended(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a stage ends with."""
    with pytest.raises(SystemExit, match=r"^1$"):
        run(main)
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_takes_no_more_is_one_line_whichever_library_writes(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x.py"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        line = ended(lambda: exec(WRITERS[name], {}), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in line


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EFBIG"])
def test_every_kind_of_refusal_names_the_file_and_the_remedy(capsys, number):
    def main():
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "models/x.safetensors")

    with pytest.raises(SystemExit):
        run_command(main)
    line = capsys.readouterr().err
    assert line.startswith("error: models/x.safetensors: cannot be written")
    assert "df -h" in line


def test_a_disk_that_was_full_when_weights_were_written_and_has_room_again_is_named(capsys):
    """It was a file of weights that is damaged, with the advice to check out what had never been made."""

    def main():
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(SystemExit):
        run_command(main)
    assert "cannot be written" in capsys.readouterr().err


STOPPED = """
import os, time
from pathlib import Path
from stages.formats.files import replacing
from stages.plumbing import cluster
from stages.plumbing.running import run_command

def work(number):
    Path("up-" + str(os.getpid())).touch()
    time.sleep(600)

def main():
    cluster.core_count = lambda: {processes}
    with replacing("x") as temporary:
        temporary.write_text("half")
        list(cluster.on_all_cores(work, range(64)))

if __name__ == "__main__":
    run_command(main)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_from_outside_is_one_line_and_leaves_no_temporary_file(tmp_path, name, code, processes):
    (tmp_path / "program.py").write_text(STOPPED.format(processes=processes))
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.glob("up-*"))) == processes)
    os.killpg(process.pid, getattr(signal, name))
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == code, errors
    assert errors == f"error: stopped by {name}; what is done is kept, the same command goes on from there\n"
    assert list(tmp_path.glob(".*")) == []


def test_weights_that_were_cut_off_are_one_line_with_the_way_to_have_them_back(tmp_path, monkeypatch, capsys):
    def main():
        load_file(tmp_path / "x.safetensors")

    (tmp_path / "x.safetensors").write_bytes(bytes(9))
    monkeypatch.setattr(sys, "argv", ["x.py"])
    assert "`dvc checkout --force` brings it back" in ended(main, capsys)


@pytest.mark.parametrize("error", [RuntimeError("a fault of the program"), AssertionError("ours"), KeyError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        run_command(main)


def test_the_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("BIND_AN_AUDIO_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["x.py", "--wrong"])
    with pytest.raises(ValueError, match="--wrong"):
        run(lambda: None)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("word", ["--estimat", "params.yaml"])
def test_a_stage_refuses_words_that_it_does_not_know_before_it_does_anything(
    tmp_path, monkeypatch, capsys, stage, word
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", word])
    monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stages.{stage}", run_name="__main__")
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {word}: {stage} takes ")
    assert list(tmp_path.iterdir()) == []


def test_what_a_stage_knows_reaches_it(monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "argv", ["decompose.py", "--estimate"])
    run(lambda: heard.append(sys.argv[1]), "--estimate")
    assert heard == ["--estimate"]
