"""`bind-an-audio sync` where the DVC repository is a folder of git's."""

import json
import os
import shutil

import pytest

from stages.commands.main import main
from stages.commands.sync import REVISIONS_EXPERIMENT
from tests.mlflow_ui import runs_of
from tests.shell import sh
from tests.test_sync import PARAMS, artifacts, lay_out_pipeline

# Slow: whole repositories with DVC and MLflow.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracking")]


@pytest.fixture(scope="module")
def origin(tmp_path_factory, empty_store):
    """A git repository whose DVC repository is a folder of it, run once."""
    folder = tmp_path_factory.mktemp("origin") / "sound"
    folder.mkdir()
    sh(folder.parent, "git", "init", "-q")
    sh(folder, "dvc", "init", "-q", "--subdir")
    lay_out_pipeline(folder, empty_store)
    sh(folder, "dvc", "repro", "-q")
    sh(folder, "git", "add", "-A")
    sh(folder, "git", "commit", "-qm", "In a folder of its own")
    return folder.parent


@pytest.fixture
def monorepo(origin, tmp_path, monkeypatch):
    """A copy of it; DVC's folder is the test's working folder."""
    shutil.copytree(origin, tmp_path / "monorepo", symlinks=True)
    monkeypatch.chdir(tmp_path / "monorepo" / "sound")
    return tmp_path / "monorepo" / "sound"


def test_a_dvc_repository_in_a_folder_of_gits_is_logged_whole(monorepo, capsys):
    for folder in (monorepo, monorepo / "data"):
        os.chdir(folder)
        main(["sync", "--all"])
    first, last = (line for line in capsys.readouterr().out.splitlines() if " logged, " in line)
    assert first.startswith("1 logged, 0 already there")
    assert last.startswith("0 logged, 1 already there")
    client, (run,) = runs_of(monorepo, REVISIONS_EXPERIMENT)
    assert run.data.metrics["evaluation.experiment_b.fad"] == 2.5
    assert run.data.params == {"prepare.corpus": "bells", "train_b.epochs": "4"}
    assert (run.data.tags["preset"], run.data.tags["machines"][:6]) == ("default", "Abacus")
    assert {"params.yaml", "dvc.lock", "metrics/evaluation.json", "metrics/listening/index.html"} <= set(
        artifacts(client, run.info.run_id)
    )
    _, (stage_run,) = runs_of(monorepo, query="tags.kind='stage'")
    assert json.loads(run.data.tags["stage_runs"])["evaluate"] == stage_run.info.run_id


def test_the_committed_params_of_a_monorepo_are_found_by_the_stage_itself(monorepo):
    (monorepo / "params.yaml").write_text(PARAMS.format(7))
    sh(monorepo, "dvc", "repro", "-q")
    _, (newest, _) = runs_of(monorepo, query="tags.kind='stage'")
    assert newest.data.tags["preset_changes"] == "train_b.epochs=7"
