"""A language model asked from a Ray cluster of two machines (of one core each, on this one)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.language_model.asking_on_cluster import asker
from stages.language_model.conversation import load_prompt
from stages.language_model.prices import cost, price_of
from stages.params.schema import load_params
from tests.language_stage import KEY, Servers, asked, environment, kept_keys, lay_out, stage
from tests.ray_cluster import end, machines_up, started_head, started_machine, workers
from tests.shell import wait_until

CAPTIONS = [f"A dog number {number} barks loudly in a garden while a man speaks softly" for number in range(240)]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-cluster-alone-0123456789"}


class Cluster:
    """Two machines whose environment names a loopback server, and that server's log."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.servers = Servers(folder)
        self.address, self.log = self.servers(**settings)
        own = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.address, "BIND_AN_AUDIO_REQUEST_SECONDS": "2"}
        head, self.head = started_head(1, **own, **TOKEN)
        self.machines = [head, started_machine(f"--address={self.head}", cores=1, **own, **TOKEN)]
        wait_until(lambda: machines_up(self.head, **TOKEN) == 2)
        # The driver has no key: what asks are the machines.
        self.environment = environment("", RAY_ADDRESS=self.head, OPENAI_API_KEY="", **TOKEN)

    def end(self) -> None:
        for process in reversed(self.machines):
            end(process)
        for server in self.servers.processes:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), fault_share=0.15, time_out=3, mark_every=60, latency=0.05)
    yield made
    made.end()


def start(folder: Path, cluster: Cluster, **changes: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "stages.decompose"]
    return subprocess.Popen(words, cwd=folder, env=cluster.environment | changes, stdout=-1, stderr=-1, text=True)


def journals(folder: Path) -> set[Path]:
    return set((folder / ".cache/replies").glob("*.jsonl"))


def arrived(folder: Path) -> set[str]:
    """Keys of the replies that are on disk: the driver's cache and the machines' journals."""
    keys: set[str] = set(kept_keys(folder))
    for path in journals(folder):
        keys |= {json.loads(line)[0] for line in path.read_text().split("\n")[:-1]}
    return keys


def test_two_machines_give_the_bytes_of_one_process_under_faults_and_kills(cluster, tmp_path, start_server):
    folder = lay_out(tmp_path / "cluster", CAPTIONS)
    process = start(folder, cluster)
    assert cluster.servers.next_line() == "mark"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not workers())
    left = journals(folder)
    after_driver, asked_by_driver = arrived(folder), len(asked(cluster.log))
    process = start(folder, cluster)
    assert cluster.servers.next_line() == "mark"
    assert cluster.servers.next_line() == "mark"
    assert len({worker.pid for worker in workers()}) == 2
    workers()[0].kill()
    after_worker, asked_by_worker = arrived(folder), len(asked(cluster.log))
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    keys = [request["key"] for request in asked(cluster.log)]
    assert len(after_driver) > 10
    assert len(after_worker) > len(after_driver)
    assert not after_driver & set(keys[asked_by_driver:])
    assert not after_worker & set(keys[asked_by_worker:])
    assert {request["fault"] for request in asked(cluster.log)} > {None, "429", "500", "reset"}

    address, _ = start_server()
    alone = lay_out(tmp_path / "alone", CAPTIONS)
    assert stage(alone, address).returncode == 0
    assert (folder / "data/decomposed.jsonl").read_bytes() == (alone / "data/decomposed.jsonl").read_bytes()
    # The killed run's stay for an hour: a worker of it might still write.
    assert journals(folder) == left
    for path in left:
        os.utime(path, (0, 0))
    assert stage(folder, address).returncode == 0
    assert not journals(folder)
    assert KEY not in output + errors


def test_a_driver_without_the_clusters_token_is_told_so(cluster, tmp_path):
    folder = lay_out(tmp_path / "stranger", CAPTIONS[:3])
    _, errors = start(folder, cluster, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN="").communicate()
    assert errors.strip().split("\n")[-1].startswith(f"error: RAY_ADDRESS={cluster.head}: ")
    assert "RAY_AUTH_MODE=token" in errors.strip().split("\n")[-1]


def test_the_budget_holds_for_all_machines_together(cluster, tmp_path):
    each = cost(price_of("gpt-4.1"), "direct", 500, 20)
    folder = lay_out(tmp_path / "poor", [f"{text} again" for text in CAPTIONS[:60]], budget_usd=40 * each)
    process = start(folder, cluster, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=cluster.address)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.strip().split("\n")[-1].startswith("error: decompose.budget_usd=")
    assert len(kept_keys(folder)) <= 40
    assert len(kept_keys(folder)) > 20, "more than one machine's part"


def test_a_worker_that_takes_over_goes_on_with_the_dead_ones_budget(tmp_path, start_server, monkeypatch):
    address, log = start_server()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    (tmp_path / "run.run").touch()
    budget = 10.5 * cost(price_of("gpt-4.1"), "direct", 500, 20)
    params = load_params().decompose.model_copy(update={"budget_usd": budget})
    for _ in range(2):
        asker(load_prompt(params), params, tmp_path, "run", 0.02)([(caption, {}) for caption in CAPTIONS[:40]])
        assert 5 <= len(asked(log)) <= 10


def test_a_server_that_takes_no_key_ends_the_run_with_one_line(tmp_path):
    made = Cluster(tmp_path, error="401:invalid_api_key")
    try:
        folder = lay_out(tmp_path / "refused", CAPTIONS[:20])
        output, errors = start(folder, made).communicate()
    finally:
        made.end()
    assert errors.strip().split("\n")[-1] == "error: OPENAI_API_KEY: the server does not take it (401); set a valid key"
    assert KEY not in output + errors


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match="replies: a machine of the cluster does not see it; share"):
        asker("", load_params().decompose, tmp_path / "replies", "run", 0.5)
