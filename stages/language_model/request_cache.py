"""What a paid request brought home, kept outside the outputs: DVC deletes those before a stage runs again.

A reply goes to disk as it came, before anyone reads it, under the hash of its whole request. So a killed run loses no
reply, a changed parser costs no call, and one new caption costs one call.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from stages.language_model.answers import NoAnswerError, answer_in

LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Reply:
    """A server's answer as it came; `tier` (`direct` or `batch`) decides its price."""

    text: str
    tier: str


class RequestCache:
    """Replies by request key in one SQLite file that several processes may use at once.

    Write-ahead log without a flush to the disk per reply: a killed process loses nothing, a power cut the last moments.
    Not diskcache: it throws old rows away above a size, keeps pickles, and the notes of batches would need a second
    file beside it.
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
        """Return the reply kept under `key`, None where there is none; what is no answer is dropped."""
        row = self._base.execute("SELECT reply, tier FROM replies WHERE key = ?", (key,)).fetchone()
        try:
            return Reply(answer_in(row[0]), row[1]) if row else None
        except NoAnswerError:
            # Earlier versions kept whatever came with status 200.
            self._base.execute("DELETE FROM replies WHERE key = ? AND reply = ?", (key, row[0]))
            return None

    def put(self, key: str, text: str, tier: str) -> Reply:
        """Keep an answer and return what is kept: the first one under a key stays, so that two processes read the same.

        Raises NoAnswerError for what is no answer.
        """
        answer_in(text)
        self.get(key)  # what is no answer makes room
        self._base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?)", (key, text, tier))
        kept = self.get(key)
        assert kept is not None
        return kept

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
        """Note that a batch's results are in the cache, or that it is not to be had."""
        self._base.execute("UPDATE batches SET done = 1 WHERE digest = ?", (digest,))

    def close(self) -> None:
        """Close the file."""
        self._base.close()
