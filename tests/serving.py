"""Servers as processes of their own on a loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

START_SECONDS = 300.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def serving(command: Sequence[str], url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, yield once `url` answers; it ends with the block, if it has not ended by then."""
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(url):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)
        assert listening(server.pid) == {"127.0.0.1"}
        yield server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def listening(process: int) -> set[str]:
    """The addresses at which a process and those that it started take connections from other processes."""
    parent = psutil.Process(process)
    found = [one for child in (parent, *parent.children(recursive=True)) for one in child.net_connections("inet")]
    return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False
