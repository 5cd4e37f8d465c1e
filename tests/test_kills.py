"""The pipeline killed at random moments, again and again: nothing is lost, nothing is left over.

`BIND_AN_AUDIO_KILLS=30` kills all of the smoke pipeline so often; `BIND_AN_AUDIO_SEED` decides the moments, so that a
failure can be repeated. Without the first variable four of its stages are killed once, in the middle of their work.
"""

from __future__ import annotations

import importlib
import os
import random
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

from stages.tracking.dependencies import content_md5
from stages.tracking.revisions import lock_hashes
from stages.training.checkpoint import newest_checkpoint
from tests.faulty import files_of, forget, lock_of
from tests.mlflow_ui import runs_of
from tests.shell import run_stages, stages_run, wait_until

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("BIND_AN_AUDIO_KILLS", "0"))
SEED = int(os.environ.get("BIND_AN_AUDIO_SEED", "1"))
# Stages for the short form, and what lies there in the middle of their work.
MIDDLES = {
    "images": "data/.images.partial/*",
    "codec": ".cache/training/*/vocoder.safetensors",
    "train_a": ".cache/training/*/train_a_stage_2.safetensors",
    "train_b": ".cache/training/*/train_b.safetensors",
}


def seconds_of_stages(repository: Path) -> dict[str, float]:
    """How long each stage of an untouched run took, by MLflow, in the order of running."""
    runs = runs_of(repository, query="tags.kind = 'stage' and attributes.status = 'FINISHED'")[1]
    runs = sorted(runs, key=lambda run: run.info.start_time)
    return {run.data.tags["stage"]: (run.info.end_time - run.info.start_time) / 1000 for run in runs}


def has_begun(process: subprocess.Popen[bytes], log: Path, stages: list[str]) -> bool:
    """Whether one of these stages runs, or the pipeline has ended."""
    return process.poll() is not None or not set(stages).isdisjoint(stages_run(log.read_text()))


def has_come(process: subprocess.Popen[bytes], repository: Path, files: str) -> bool:
    """Whether such files lie there, or the pipeline has ended."""
    return process.poll() is not None or any(repository.glob(files))


def checkpoints(cache: Path) -> dict[str, int]:
    """The last update of each training's newest whole checkpoint."""
    paths = [path for path in cache.glob("training/*/*.safetensors") if not path.name.endswith(".before.safetensors")]
    found = {path.stem: newest_checkpoint(path) for path in paths}
    return {name: kept[1]["update"] for name, kept in found.items() if kept is not None}


class KilledError(Exception):
    pass


SECOND = {"encoders": "train_clap", "judges": "train_classifier", "codec": "train_vocoder"}


@pytest.mark.parametrize("stage", SECOND)
def test_killed_between_its_two_trainings_a_stage_writes_the_bytes_of_an_untouched_run(project, monkeypatch, stage):
    monkeypatch.chdir(project)
    module, models = importlib.import_module(f"stages.{stage}"), Path("models") / stage
    whole = content_md5(models)
    shutil.rmtree(models)

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, SECOND[stage], killed)
        with pytest.raises(KilledError):
            module.main()
    assert not models.exists()
    module.main()
    assert content_md5(models) == whole


def test_all_stages_write_the_bytes_of_the_first_run_again_and_leave_nothing_else(reproduced, project):
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    outs = lock_hashes((project / "dvc.lock").read_text(), "outs")
    forget(project, list(pipeline))
    run_stages(project, *pipeline)
    for stage, written in outs.items():
        assert {path: content_md5(project / path) for path in written} == written, stage
    assert files_of(project) == files_of(reproduced)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_anywhere_the_pipeline_goes_on_and_ends_with_the_lock_of_an_untouched_run(reproduced, clone, tmp_path):
    log = tmp_path / "log"
    untouched, seconds, draw = lock_of(clone), seconds_of_stages(reproduced), random.Random(SEED)
    stages = [stage for stage in seconds if KILLS or stage in MIDDLES]
    wanted = sorted(stages.index(stage) for stage in (stages * KILLS)[:KILLS] or stages)
    forget(clone, stages)
    environment = os.environ | {
        "BIND_AN_AUDIO_CHECKPOINT_SECONDS": "1" if KILLS else "0",
        "BIND_AN_AUDIO_TRACKING": "on" if KILLS else "off",
        "PYTHONUNBUFFERED": "1",
    }
    done: set[str] = set()  # stages that another one followed: DVC has their outputs
    kept: dict[str, int] = {}
    killed: list[str] = []
    went_on: set[str] = set()
    for place in [*wanted, None]:
        with open(log, "w") as output:
            process = subprocess.Popen(
                ["dvc", "repro", "--no-run-cache"],
                cwd=clone,
                env=environment,
                start_new_session=True,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if place is not None and KILLS:
            wait_until(partial(has_begun, process, log, stages[place:]))
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0, 1.1 * seconds[stages[place]]))
        elif place is not None:
            wait_until(partial(has_come, process, clone, MIDDLES[stages[place]]))
        if place is not None and process.poll() is None:
            kill(process)
        process.wait()
        text = log.read_text()
        ran = stages_run(text)
        assert not done & set(ran), f"seed {SEED}: ran again after the kills in {killed}\n{text}"
        resumed = {name: int(update) for name, update in re.findall(r"(\w+): resumed after update (\d+)", text)}
        went_on |= resumed.keys()
        begun = {name: update for name, update in kept.items() if re.search(rf"^{name}: +\d+%", text, re.MULTILINE)}
        assert begun.items() <= resumed.items() <= kept.items(), f"seed {SEED}: {killed}, {kept}\n{text}"
        if process.returncode >= 0:
            assert process.returncode == 0, f"seed {SEED}: {killed}\n{text[-3000:]}"
            break
        done |= set(ran[:-1])
        killed.append(f"{ran[-1]}" if ran else "dvc")
        kept = checkpoints(clone / ".cache")
        print(f"kill {len(killed)}: {killed[-1]}, checkpoints {kept}, resumed {resumed}", flush=True)
    assert len(killed) >= 0.8 * len(wanted), killed
    assert KILLS or went_on >= {"vocoder", "train_a_stage_2", "train_b"}
    assert lock_of(clone) == untouched
    assert files_of(clone) == files_of(reproduced)
    assert list(clone.glob(".cache/training/*/*")) == []
