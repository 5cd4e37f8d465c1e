"""Ray clusters on this machine: what the tests of stages over a cluster share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.shell import wait_until

RAY = str(Path(sys.executable).parent / "ray")
# Ray wants a token by itself where one lies in the home folder; TOKEN is for a cluster that has one.
OPEN = {"RAY_AUTH_MODE": "disabled"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-cluster-alone-0123456789"}


def started_head(cores: int, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
    """A Ray head's process and its address, when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    process = started_machine("--head", f"--port={port}", "--include-dashboard=false", cores=cores, **environment)
    wait_until(lambda: process.poll() is not None or machines_up(address, **environment))
    assert process.poll() is None, "ray start ended"
    return process, address


def machines_up(address: str, **environment: str) -> int:
    """How many machines the cluster counts; 0 where its head does not answer."""
    words = [RAY, "status", f"--address={address}"]
    status = subprocess.run(words, env=os.environ | OPEN | environment, capture_output=True, text=True)
    return status.stdout.partition("Active:")[2].partition("Pending:")[0].count(" node_")


def started_machine(*words: str, cores: int, **environment: str) -> subprocess.Popen[bytes]:
    """A process that is one of a cluster's machines."""
    common = ["--block", "--object-store-memory=200000000", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    return subprocess.Popen(
        [RAY, "start", *words, f"--num-cpus={cores}", *common],
        env=os.environ | OPEN | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        if one.is_running():
            one.kill()
    process.wait()


def workers() -> list[psutil.Process]:
    """Processes that run our work for Ray."""
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::MapWorker" in " ".join(one.info["cmdline"] or [])]
