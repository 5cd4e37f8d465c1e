import shutil
from pathlib import Path

import pytest

from tests.metrics_and_lock import complaints
from tests.shell import sh

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


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin")
    (folder / "metrics").mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE)
    for words in ("git init -q", "dvc init -q", "dvc repro -q", "git add -A"):
        sh(folder, *words.split())
    return folder


@pytest.fixture
def repository(origin, tmp_path):
    return shutil.copytree(origin, tmp_path / "repository", symlinks=True)


def test_what_a_run_wrote_is_accepted_and_weights_may_be_missing(repository):
    (repository / "weights").unlink()
    assert complaints(repository) == []


@pytest.mark.parametrize("path", ["metrics/m.json", "metrics/plots/a.png"])
def test_an_edited_file_is_named_with_its_stage(repository, path):
    (repository / path).write_text("edited")
    (line,) = complaints(repository)
    assert "not what dvc.lock says evaluate wrote" in line


def test_a_missing_or_untracked_file_is_named(repository):
    sh(repository, "git", "rm", "-rq", "--cached", "metrics/plots")
    (repository / "metrics/m.json").unlink()
    missing, untracked = complaints(repository)
    assert missing.startswith("metrics/m.json: missing")
    assert untracked.startswith("metrics/plots: not in git")
