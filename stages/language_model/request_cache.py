"""What a paid or slow request brought home, kept outside the outputs: DVC deletes those before a stage runs again.

A reply goes to disk as it came, before anyone reads it, under the hash of its whole request. So a killed run loses no
reply, a changed parser costs no call, and one new caption costs one call.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

LOCK_SECONDS = 60.0


def request_key(request: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a request's canonical JSON: equal requests have equal keys, whatever the order of theirs."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Reply:
    """A server's answer as it came; `tier` (`direct` or `batch`) decides its price."""

    text: str
    tier: str


class Replies(Protocol):
    """Where replies are kept and looked up."""

    def get(self, key: str) -> Reply | None:
        """Return the reply kept under `key`, None where there is none."""

    def put(self, key: str, text: str, tier: str) -> None:
        """Keep a reply; the first one under a key stays."""


class RequestCache:
    """Replies by request key in one SQLite file that several processes may use at once.

    Write-ahead log without a flush to the disk per reply: a killed process loses nothing, a power cut the last moments.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` or make it. Raises ValueError where it is no such file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        try:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT, tier TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS batches (digest TEXT PRIMARY KEY, id TEXT, done INTEGER)")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: no request cache ({error}); move the file away") from None

    def get(self, key: str) -> Reply | None:
        """Return the reply kept under `key`, None where there is none."""
        row = self._base.execute("SELECT reply, tier FROM replies WHERE key = ?", (key,)).fetchone()
        return Reply(*row) if row else None

    def put(self, key: str, text: str, tier: str) -> None:
        """Keep a reply; the first one under a key stays, so that two processes read the same."""
        self._base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", (key, text, tier))

    def put_batch(self, digest: str, batch: str | None) -> None:
        """Note a batch before it is sent (`batch` None) and its id as soon as the server gave one."""
        self._base.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, 0)", (digest, batch))

    def batch_count(self) -> int:
        """How many batches were ever noted."""
        return int(self._base.execute("SELECT COUNT(*) FROM batches").fetchone()[0])

    def open_batches(self) -> list[tuple[str, str | None]]:
        """Return digest and id of every batch whose results were not fetched."""
        return list(self._base.execute("SELECT digest, id FROM batches WHERE done = 0 ORDER BY digest"))

    def close_batch(self, digest: str) -> None:
        """Note that a batch's results are in the cache, or that it never came to be."""
        self._base.execute("UPDATE batches SET done = 1 WHERE digest = ?", (digest,))

    def close(self) -> None:
        """Close the file."""
        self._base.close()
