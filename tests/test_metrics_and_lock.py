import subprocess
from pathlib import Path

import pytest

from tests.metrics_and_lock import complaints

ROOT = Path(__file__).parent.parent
PIPELINE = """
stages:
  evaluate:
    cmd: echo 1 > metrics/m.json && mkdir -p metrics/plots && echo 2 > metrics/plots/a.png && echo 3 > weights
    outs: [weights]
    metrics:
      - metrics/m.json: {cache: false}
    plots:
      - metrics/plots: {cache: false}
"""


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for words in (["git", "init"], ["dvc", "init"], ["dvc", "repro"], ["git", "add", "-A"]):
        subprocess.run([*words, "-q"] if words[1] != "add" else words, cwd=tmp_path, check=True)
    return tmp_path


def test_what_a_run_wrote_is_accepted_and_weights_may_be_missing(repository):
    (repository / "weights").unlink()
    assert complaints(repository) == []


@pytest.mark.parametrize("path", ["metrics/m.json", "metrics/plots/a.png"])
def test_an_edited_file_is_named_with_its_stage(repository, path):
    (repository / path).write_text("edited")
    (line,) = complaints(repository)
    assert "not what dvc.lock says evaluate wrote" in line


def test_a_missing_or_untracked_file_is_named(repository):
    subprocess.run(["git", "rm", "-rq", "--cached", "metrics/plots"], cwd=repository, check=True)
    (repository / "metrics/m.json").unlink()
    missing, untracked = complaints(repository)
    assert missing.startswith("metrics/m.json: missing")
    assert untracked.startswith("metrics/plots: not in git")
