"""One progress bar for everything that takes longer than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LOG_SECONDS = 30.0


class _Lines:
    """A log file for tqdm: what it draws over itself with carriage returns becomes a line each."""

    def __init__(self, log: TextIO) -> None:
        self.log, self.flush = log, log.flush

    def write(self, text: str) -> None:
        if line := text.strip():
            self.log.write(f"{line}\n")


def progress(items: Iterable[Item], description: str, total: int | None = None, initial: int = 0) -> tqdm[Item]:
    """Iterate with a bar on stderr; where stderr is no terminal, with a line every 30 s and one at the end."""
    look: dict[str, Any] = {"mininterval": 0.2, "dynamic_ncols": True}
    if not sys.stderr.isatty():
        look = {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS, "ascii": " #", "file": _Lines(sys.stderr)}
    return tqdm(items, desc=description, total=total, initial=initial, **look)
