"""The pipeline killed at random moments, again and again: nothing is lost, nothing is left over.

`BIND_AN_AUDIO_KILLS=30` kills all of the smoke pipeline so often, `=0` three of its stages once.
Without the variable nothing is killed: even three kills take minutes.
`BIND_AN_AUDIO_SEED` decides the moments, so that a failure can be repeated.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import yaml

from stages.training.checkpoint import newest_checkpoint
from tests.shell import stages_run, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("BIND_AN_AUDIO_KILLS" not in os.environ, reason="takes minutes: set BIND_AN_AUDIO_KILLS"),
]
KILLS = int(os.environ.get("BIND_AN_AUDIO_KILLS", "0"))
SEED = int(os.environ.get("BIND_AN_AUDIO_SEED", "1"))
FEW = ["quality", "embed", "train_b"]


def seconds_of_stages(repository: Path) -> dict[str, float]:
    """How long each stage of an untouched run took, by MLflow, in the order of running."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, "tags.kind = 'stage' and attributes.status = 'FINISHED'", max_results=100)
    runs = sorted(runs, key=lambda run: run.info.start_time)
    return {run.data.tags["stage"]: (run.info.end_time - run.info.start_time) / 1000 for run in runs}


def forget(repository: Path, stages: list[str]) -> None:
    """Let stages be as if they had never run: no outputs, no entry in dvc.lock, nothing in DVC's cache."""
    lock = yaml.safe_load((repository / "dvc.lock").read_text())
    for stage in stages:
        for output in lock["stages"].pop(stage).get("outs", ()):
            path = repository / output["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    shutil.rmtree(repository / ".dvc/cache")


def files_of(repository: Path) -> set[str]:
    """Every file that is not a tool's own."""
    paths = (path.relative_to(repository) for path in repository.rglob("*") if path.is_file())
    tools = {".git", ".dvc", ".cache", "__pycache__", "mlartifacts", "mlflow.db"}
    return {path.as_posix() for path in paths if not tools & set(path.parts)}


def has_begun(process: subprocess.Popen[bytes], log: Path, stages: list[str]) -> bool:
    """Whether one of these stages runs, or the pipeline has ended."""
    return process.poll() is not None or not set(stages).isdisjoint(stages_run(log.read_text()))


def checkpoints(cache: Path) -> dict[str, int]:
    """The last update of each training's newest whole checkpoint."""
    paths = [path for path in cache.glob("training/*/*.safetensors") if not path.name.endswith(".before.safetensors")]
    found = {path.stem: newest_checkpoint(path) for path in paths}
    return {name: kept[1]["update"] for name, kept in found.items() if kept is not None}


def test_killed_anywhere_the_pipeline_goes_on_and_ends_with_the_lock_of_an_untouched_run(reproduced, tmp_path):
    repository, log = tmp_path / "clone", tmp_path / "log"
    shutil.copytree(reproduced, repository, symlinks=True)
    untouched = yaml.safe_load((repository / "dvc.lock").read_text())
    seconds = seconds_of_stages(reproduced)
    stages = [stage for stage in seconds if KILLS or stage in FEW]
    draw = random.Random(SEED)
    wanted = sorted(stages.index(stage) for stage in (stages * KILLS)[: KILLS or len(FEW)] or stages)
    forget(repository, stages)
    environment = os.environ | {
        "BIND_AN_AUDIO_CHECKPOINT_SECONDS": "1",
        "BIND_AN_AUDIO_CACHE": str(tmp_path / "cache"),
        "BIND_AN_AUDIO_TRACKING": "on" if KILLS else "off",
        "PYTHONUNBUFFERED": "1",
    }
    done: set[str] = set()  # stages that another one followed: DVC has their outputs
    kept: dict[str, int] = {}
    killed: list[str] = []
    for place in [*wanted, None]:
        with open(log, "w") as output:
            process = subprocess.Popen(
                ["dvc", "repro", "--no-run-cache"],
                cwd=repository,
                env=environment,
                start_new_session=True,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if place is None:
            process.wait()
        else:
            wait_until(partial(has_begun, process, log, stages[place:]))
            try:
                process.wait(draw.uniform(0, 1.1 * seconds[stages[place]]))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        text = log.read_text()
        ran = stages_run(text)
        assert not done & set(ran), f"seed {SEED}: ran again after the kills in {killed}\n{text}"
        resumed = {name: int(update) for name, update in re.findall(r"(\w+): resumed after update (\d+)", text)}
        begun = {name: update for name, update in kept.items() if re.search(rf"^{name}: +\d+%", text, re.MULTILINE)}
        assert begun.items() <= resumed.items() <= kept.items(), f"seed {SEED}: {killed}, {kept}\n{text}"
        if process.returncode >= 0:
            assert process.returncode == 0, f"seed {SEED}: {killed}\n{text[-3000:]}"
            break
        done |= set(ran[:-1])
        killed.append(f"{ran[-1]}" if ran else "dvc")
        kept = checkpoints(tmp_path / "cache")
        print(f"kill {len(killed)}: {killed[-1]}, checkpoints {kept}, resumed {resumed}", flush=True)
    assert len(killed) >= 0.8 * len(wanted), killed
    assert yaml.safe_load((repository / "dvc.lock").read_text()) == untouched
    assert files_of(repository) == files_of(reproduced)
    assert list((tmp_path / "cache").glob("training/*/*")) == []
