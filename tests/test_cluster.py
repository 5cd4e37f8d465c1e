"""Stages over a Ray cluster of two workers on this machine: the same bytes, also where a worker or the driver dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stages.plumbing.cluster import in_batches, map_batches
from tests.ray_cluster import TOKEN, cluster, workers
from tests.shell import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
STAGES = {"decompose": "data/decomposed.jsonl", "images": "data/images", "embed": "data/embeddings"}


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a Ray head with two workers, which wants a token; the tests here have it."""
    with pytest.MonkeyPatch.context() as patch, cluster(cores=2) as address:
        for name, value in TOKEN.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture
def project(project: Path) -> Path:
    """What the mapped stages read, without what they write."""
    shutil.rmtree(project / "data/embeddings")
    shutil.rmtree(project / "data/images")
    (project / "data/decomposed.jsonl").unlink()
    return project


def start(project: Path, stage: str, address: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_ADDRESS": address}
    words = [sys.executable, "-m", f"stages.{stage}"]
    return subprocess.Popen(words, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {file.name: file.read_bytes() for file in files}


def test_a_cluster_writes_the_bytes_of_one_process_also_where_a_worker_is_killed(head, project, reproduced):
    for stage, output in STAGES.items():
        process = start(project, stage, head)
        if stage == "images":
            wait_until(workers)[0].kill()
        finish(process)
        assert contents(project / output) == contents(reproduced / output), stage


def test_a_killed_driver_leaves_nothing_half_and_the_next_run_writes_the_same_bytes(head, project, reproduced):
    shutil.copy(reproduced / "data/decomposed.jsonl", project / "data")
    process = start(project, "images", head)
    wait_until(workers)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (project / "data/images").exists()
    finish(start(project, "images", head))
    assert contents(project / "data/images") == contents(reproduced / "data/images")


def doubler(folder: Path) -> Callable[[list[int]], list[int]]:
    """Work that notes each batch in `folder`, dies once in the batch with 7, and refuses 99."""

    def work(batch: list[int]) -> list[int]:
        if 7 in batch and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if 99 in batch:
            raise ValueError("number=99: too much; take less")
        (folder / str(batch[0])).touch()
        return [2 * number for number in batch]

    return work


def test_a_worker_that_dies_in_a_batch_costs_that_batch_alone(head, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", head)
    results = list(map_batches(partial(doubler, tmp_path), in_batches(range(20), 3)))
    assert [number for batch in results for number in batch] == list(range(0, 40, 2))
    assert (tmp_path / "died").exists()


def test_a_users_mistake_arrives_as_itself(head, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", head)
    with pytest.raises(ValueError, match=r"^number=99: too much; take less$"):
        list(map_batches(partial(doubler, tmp_path), [[1], [99], [2]]))


def test_without_an_address_the_work_stays_in_this_process(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "died").touch()
    taken = map_batches(partial(doubler, tmp_path), in_batches(range(9), 2))
    assert next(taken) == [0, 2]
    assert not (tmp_path / "2").exists(), "a batch was worked on before its result was asked for"
    assert list(taken) == [[4, 6], [8, 10], [12, 14], [16]]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:1", "127.0.0.1:notaport"])
def test_a_head_that_does_not_answer_is_one_line(tmp_path, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=f"RAY_ADDRESS={address}: no Ray head answers there .*ray start --head"):
        next(map_batches(partial(doubler, tmp_path), [[1]]))


def environment_reader() -> Callable[[list[int]], dict[str, str]]:
    return lambda _batch: dict(os.environ)


def test_no_secret_travels_to_the_workers_and_what_decides_results_does(head, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", head)
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "planted-secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("BIND_AN_AUDIO_DEVICE", "cpu")
    (found,) = map_batches(environment_reader, [[1]])
    assert not [name for name, value in found.items() if "planted-secret" in value]
    assert (found["OMP_NUM_THREADS"], found["BIND_AN_AUDIO_DEVICE"]) == ("3", "cpu")


def test_without_its_token_a_cluster_is_one_line_that_says_so(head):
    """With it all others here work."""
    code = "from stages.plumbing.cluster import map_batches as m; print(*m(lambda: sum, [[4]]))"
    environment = os.environ | {"RAY_ADDRESS": head, "RAY_AUTH_MODE": "disabled"}
    del environment["RAY_AUTH_TOKEN"]
    stranger = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    last = stranger.stderr.strip().split("\n")[-1]
    assert last.startswith(f"ValueError: RAY_ADDRESS={head}: ")
    assert "RAY_AUTH_MODE=token" in last
