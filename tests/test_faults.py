"""The pipeline where its surroundings fail: a full disk, a cache that is read-only, two `dvc repro` at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.faulty import Mounts, files_of, forget, lock_of, own_mounts
from tests.shell import sh, stages_run

pytestmark = pytest.mark.slow
REPRO = ("dvc", "repro", "--no-run-cache")
DAY = 86_400


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with own_mounts() as entered:
        yield entered


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that say why a command ended; no traceback is among them."""
    assert done.returncode > 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.lower().startswith("error: ")]


def test_on_a_full_disk_the_pipeline_says_so_and_the_same_command_goes_on_once_there_is_room(
    reproduced, mounts, tmp_path
):
    (disk := tmp_path / "disk").mkdir()
    assert mounts.run(tmp_path, "mount", "-t", "tmpfs", "-o", "size=500M", "disk", disk).returncode == 0
    assert mounts.run(tmp_path, "cp", "-a", reproduced, disk / "clone").returncode == 0
    repository, ballast = mounts.seen(disk / "clone"), mounts.seen(disk / "ballast")
    untouched = lock_of(repository)
    forget(repository, ["decompose", "train_b"])
    # Without any room DVC itself gets nowhere; with a little, the first stage ends well and the training cannot.
    for free, said in (
        (0, "No space left on device"),
        (200_000, "error: models/experiment_b: cannot be written (No space"),
    ):
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(repository).free - free)
        assert said in errors_of(done := mounts.run(disk / "clone", *REPRO))[0]
        ballast.unlink()
        # DVC may have cut its own note of who runs off, and then wants it removed: docs/faults.md.
        (repository / ".dvc/tmp/rwlock").unlink()
    assert "checkpoint" in done.stderr
    done = mounts.run(disk / "clone", *REPRO)
    assert done.returncode == 0, done.stderr
    assert stages_run(done.stdout) == ["train_b"]
    assert lock_of(repository) == untouched
    assert files_of(repository) == files_of(reproduced)


def test_a_cache_that_is_read_only_costs_a_stage_its_checkpoints_and_dvc_says_what_to_do(reproduced, mounts, clone):
    untouched = lock_of(clone)
    forget(clone, ["train_b"])
    for cache in (".cache", ".dvc/cache"):
        assert mounts.run(clone, "mount", "--bind", cache, cache).returncode == 0
        assert mounts.run(clone, "mount", "-o", "remount,bind,ro", cache).returncode == 0
    done = mounts.run(clone, *REPRO)
    assert "Read-only file system" in errors_of(done)[-1]
    sh(clone, "dvc", "commit", "--force", "train_b")
    assert stages_run(sh(clone, *REPRO)) == []
    assert lock_of(clone) == untouched
    assert files_of(clone) == files_of(reproduced)


def test_two_at_once_each_end_well_or_in_one_line_and_leave_one_lock_also_where_files_are_from_tomorrow(
    reproduced, clone
):
    """Files from tomorrow: what a clock that is put back leaves."""
    untouched, tomorrow = lock_of(clone), time.time() + DAY
    forget(clone, ["decompose", "train_b"])
    for path in clone.rglob("*"):
        os.utime(path, (tomorrow, tomorrow), follow_symlinks=False)
    started = [
        subprocess.Popen(REPRO, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in started:
        output, errors = process.communicate()
        if process.returncode:
            assert len(errors_of(subprocess.CompletedProcess(REPRO, process.returncode, output, errors))) == 1
    assert 0 in [process.returncode for process in started]
    assert stages_run(sh(clone, *REPRO)) == []
    assert lock_of(clone) == untouched
    assert files_of(clone) == files_of(reproduced)
