"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.language_stage import Servers
from tests.shell import sh, stages_run

# A slow machine is no failure: how long an example takes is not what a property says.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def environment():
    """No test reaches the network, this repository's MLflow store, or another Python than this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.delenv("BIND_AN_AUDIO_CACHE", raising=False)
        patch.delenv("BIND_AN_AUDIO_TRACKING", raising=False)
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
        yield


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder with esc10/ and audiocaps/."""
    named = os.environ.get("BIND_AN_AUDIO_CORPORA")
    if not named:
        pytest.skip("BIND_AN_AUDIO_CORPORA names no folder with esc10/ and audiocaps/")
    return Path(named)


@pytest.fixture(scope="session")
def scratch_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository of one commit, smoke size as params.yaml, with a DVC cache of its own."""
    folder = tmp_path_factory.mktemp("scratch") / "clone"
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(folder)], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy(folder / "presets" / "smoke.yaml", folder / "params.yaml")
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "Smoke size"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def reproduced(scratch_clone: Path) -> Path:
    """The scratch clone after its first `dvc repro`, everything committed."""
    output = sh(scratch_clone, "dvc", "repro")
    assert "evaluate" in stages_run(output) or "evaluate" in output
    sh(scratch_clone, "git", "add", "--all")
    sh(scratch_clone, "git", "commit", "--quiet", "--message", "First run")
    return scratch_clone


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made: copying it saves the seconds of making them."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Servers]:
    """Starts servers that speak OpenAI's protocol; they end with the test."""
    servers = Servers(tmp_path)
    yield servers
    for process in servers.processes:
        process.kill()
        process.wait()
