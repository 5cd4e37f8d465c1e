"""Ray clusters on this machine: what the tests of stages over a cluster share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.serving import free_port
from tests.shell import wait_until

RAY = str(Path(sys.executable).parent / "ray")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-this-cluster-alone-0123456789"}


@contextmanager
def cluster(cores: int) -> Iterator[str]:
    """The address of a Ray head of so many cores that takes whoever has TOKEN; it ends with the block."""
    address = f"127.0.0.1:{(port := free_port())}"
    words = [RAY, "start", "--head", f"--port={port}", f"--num-cpus={cores}", "--include-dashboard=false", "--block"]
    words += ["--object-store-memory=200000000", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, env=os.environ | TOKEN, stdout=quiet, stderr=quiet) as head:
        started = psutil.Process(head.pid)
        try:
            wait_until(lambda: head.poll() is not None or is_up(address))
            assert head.poll() is None, "ray start ended"
            yield address
        finally:
            with suppress(psutil.NoSuchProcess):
                for one in [started, *started.children(recursive=True)]:
                    one.kill()


def is_up(address: str) -> bool:
    words = [RAY, "status", f"--address={address}"]
    status = subprocess.run(words, env=os.environ | TOKEN, capture_output=True, text=True).stdout
    return " node_" in status.partition("Active:")[2].partition("Pending:")[0]


def workers() -> list[psutil.Process]:
    """Processes that run our work for Ray."""
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::MapWorker" in " ".join(one.info["cmdline"] or [])]
