"""One progress bar for everything that takes longer than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, total: int | None = None, initial: int = 0) -> tqdm[Item]:
    """Iterate with a bar on stderr; where stderr is a file, a line at most every 10 s."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(items, desc=description, total=total, initial=initial, mininterval=interval, dynamic_ncols=True)
