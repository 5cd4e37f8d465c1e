"""Replies on disk where SQLite would not be safe, on a network file system say: a file of lines for each process.

Each worker of a cluster writes a journal of its own as replies arrive. The driver takes them into its cache while they
grow, and a worker that takes over from a dead one reads what that one had; a line that a kill cut off is left out.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from stages.language_model.request_cache import Reply, RequestCache

OLD_SECONDS = 3600.0  # no worker of another run writes any more


class ReplyJournal:
    """Replies by request key: those known before, and those put here, which go to the disk at once."""

    def __init__(self, folder: Path, run: str, known: Mapping[str, Reply]) -> None:
        """Open this process's file of a run; `known` and what other processes of the run have written is known."""
        written = (row for path in _journals(folder, run) for row in _rows(_whole_lines(path.read_bytes())))
        self._known = {key: Reply(text, tier) for key, text, tier in written} | dict(known)
        # A name that was never used: what is appended to a cut-off line is lost.
        path = folder / f"{run}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by close()

    def get(self, key: str) -> Reply | None:
        """Return the reply kept under `key`, None where there is none."""
        return self._known.get(key)

    def put(self, key: str, text: str, tier: str) -> None:
        """Keep a reply; the first one under a key stays."""
        if key not in self._known:
            self._file.write(json.dumps([key, text, tier]).encode() + b"\n")
            self._known[key] = Reply(text, tier)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JournalReader:
    """Takes what is new in the journals of all runs into a cache."""

    def __init__(self, folder: Path, cache: RequestCache) -> None:
        """Read from the beginning of each file in `folder`, which need not exist yet."""
        self._folder, self._cache = folder, cache
        self._read: dict[Path, int] = {}  # bytes by file

    def adopt(self) -> list[Reply]:
        """Put the replies of new whole lines into the cache; return those that it did not have."""
        adopted = []
        for path in _journals(self._folder):
            with open(path, "rb") as file:
                file.seek(self._read.get(path, 0))
                new = _whole_lines(file.read())
            self._read[path] = self._read.get(path, 0) + len(new)
            for key, text, tier in _rows(new):
                if self._cache.get(key) is None:
                    self._cache.put(key, text, tier)
                    adopted.append(Reply(text, tier))
        return adopted

    def remove(self, run: str | None = None) -> None:
        """Remove the files of a run, or those that nobody has written to for an hour; all of it was adopted."""
        for path in sorted(self._folder.glob(f"{run or ''}*")):
            if run or time.time() - path.stat().st_mtime > OLD_SECONDS:
                path.unlink(missing_ok=True)


def _journals(folder: Path, run: str = "*") -> list[Path]:
    return sorted(folder.glob(f"{run}-*.jsonl"))


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _rows(lines: bytes) -> Iterator[list[str]]:
    """Key, text and tier of each line."""
    return (json.loads(line) for line in lines.splitlines())
