"""Fixtures that several test files share."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

from tests.language_stage import Servers
from tests.scratch_clone import ROOT, lay_out_scratch_clone
from tests.shell import sh, stages_run

# A slow machine is no failure: how long an example takes is not what a property says.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Long files, so that no worker is left with one of them at the end. The first makes the clone that others wait for, the
# next do without it.
FIRST = (
    *("test_story_queue", "test_own_data", "test_real_recordings", "test_sync", "test_newcomer", "test_rehearsal"),
    *("test_generate", "test_language_servers", "test_soundworld"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, long files first among them."""
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, place.get(item.path.stem, len(FIRST))))


@pytest.fixture(scope="session", autouse=True)
def environment():
    """No test reaches the network, this repository's MLflow store, or another Python than this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("HF_HUB_OFFLINE", "1")
        # Else DVC leaves a process behind with each command, which asks its makers' servers.
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("CI", "1")
        for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.delenv("BIND_AN_AUDIO_CACHE", raising=False)
        patch.setenv("BIND_AN_AUDIO_TRACKING", "off")
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


@pytest.fixture(scope="module")
def tracking() -> Iterator[None]:
    """What the stages of this file do is logged to MLflow; elsewhere it is not, which spares seconds a stage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIND_AN_AUDIO_TRACKING", "on")
        yield


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A path that all workers of pytest-xdist share, made by the one that comes first."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done = Path(f"{path}.done")
    with FileLock(f"{path}.lock"):
        if not done.exists():
            make(path)
            done.touch()
    return path


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch clone after its first `dvc repro`, everything committed; whoever changes it takes a copy."""

    def run(folder: Path) -> None:
        lay_out_scratch_clone(folder)
        stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        assert set(stages_run(sh(folder, "dvc", "repro", BIND_AN_AUDIO_TRACKING="on"))) == set(stages)
        sh(folder, "git", "add", "--all")
        sh(folder, "git", "commit", "--quiet", "--message", "First run")

    return made_once(tmp_path_factory, "reproduced", run)


@pytest.fixture
def clone(reproduced: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(reproduced, tmp_path / "clone", symlinks=True)


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A copy of its files alone, for a test that runs stages without DVC."""
    return shutil.copytree(
        reproduced, tmp_path / "project", ignore=shutil.ignore_patterns(".git", ".dvc", "mlflow.db", "mlartifacts")
    )


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made: copying it saves the seconds of making them."""

    def make(path: Path) -> None:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{path}").search_experiments()

    return made_once(tmp_path_factory, "empty.db", make)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Servers]:
    """Starts servers that speak OpenAI's protocol; they end with the test."""
    servers = Servers(tmp_path)
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A repository whose codec, backbone and encoders are published ones, with A and B untrained."""
    import torch

    from stages.backbone import read_denoiser
    from stages.experiments.experiment_a import ExperimentA
    from stages.experiments.experiment_b import ExperimentB
    from stages.experiments.fusion import save_experiment
    from stages.published.codec import convert_codec
    from stages.published.encoders import convert_encoders
    from stages.synthesis.unet import load_denoiser, save_denoiser
    from tests.test_published import write_published
    from tests.test_towers import published_imagebind

    torch.manual_seed(0)
    published = write_published(tmp_path_factory.mktemp("published"))
    keep_a_third_of_the_blocks(published / "bigvgan")
    root = tmp_path_factory.mktemp("trained")
    for name in ("codec", "backbone", "encoders", "experiment_a", "experiment_b"):
        (root / "models" / name).mkdir(parents=True)
    convert_codec(root / "models/codec", published, samples=40_960)
    save_denoiser(root / "models/backbone", read_denoiser(published, heads=4))
    convert_encoders(root / "models/encoders", published, published_imagebind()[0], "make_an_audio")
    b = {"fusion": "mean", "embedding_dim": 24, "width": 16, "blocks": 1, "heads": 2}
    a = {"fusion": "mean", "embedding_dim": 24, "context_dim": 32, "context_tokens": 1, "length": 77}
    state = ExperimentB(b, torch.randn(77, 32)).state_dict()
    save_experiment(root / "models/experiment_b", b, state)
    state = ExperimentA(a, load_denoiser(root / "models/backbone")).state_dict()
    save_experiment(root / "models/experiment_a", a, state)
    shutil.copy(ROOT / "params.yaml", root)
    return root


def keep_a_third_of_the_blocks(vocoder: Path) -> None:
    """Of three parallel blocks of a published BigVGAN keep the first: clips are vocoded in half the time."""
    import torch

    weights = torch.load(vocoder / "best_netG.pt", weights_only=True)["generator"]
    numbers = {name: int(match[1]) for name in weights if (match := re.match(r"resblocks\.(\d+)", name))}
    kept = {
        re.sub(r"^resblocks\.\d+", f"resblocks.{numbers.get(name, 0) // 3}", name): value
        for name, value in weights.items()
        if numbers.get(name, 0) % 3 == 0
    }
    torch.save({"generator": kept}, vocoder / "best_netG.pt")
    options = (vocoder / "args.yml").read_text().replace("[3, 7, 11]", "[3]")
    (vocoder / "args.yml").write_text(options.replace("[[1, 3, 5], [1, 3, 5], [1, 3, 5]]", "[[1, 3, 5]]"))


@pytest.fixture
def models(trained, tmp_path, monkeypatch):
    """A copy of that repository as the working folder."""
    shutil.copytree(trained, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"
