"""How stages and commands end where the user or the machine is at fault: one line, exit code 1."""

from __future__ import annotations

import errno
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from stages.plumbing.running import run, run_command

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


def ended(code: str, folder: Path) -> str:
    """The one line that a program ended with."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_takes_no_more_is_one_line_whichever_library_writes(tmp_path, name):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    code = f"{limited}def main():\n    {WRITERS[name]}\nfrom stages.plumbing.running import run\nrun(main)"
    assert "cannot be written" in ended(code, tmp_path)


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EFBIG"])
def test_every_kind_of_refusal_names_the_file_and_the_remedy(capsys, number):
    def main():
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "models/x.safetensors")

    with pytest.raises(SystemExit):
        run_command(main)
    line = capsys.readouterr().err
    assert line.startswith("error: models/x.safetensors: cannot be written")
    assert "df -h" in line


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
