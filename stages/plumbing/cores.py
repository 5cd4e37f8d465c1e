"""Work on single items, spread over all cores of this machine; which core does what changes no result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16  # items that travel together
FEWEST = 2 * CHUNK  # items that are worth a process


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `work(item)` of each item, in order: one process a core; this one where there is one core or little work.

    `work` is a module's function or a `functools.partial` of one, because it travels to other processes, as do items
    and results.

    Raises what `work` raises, and ValueError where a process was killed.
    """
    processes = min(core_count(), len(items) // FEWEST)
    if processes < 2:
        yield from map(work, items)
        return
    # Spawned, not forked: a fork copies locks that the threads of torch or of a progress bar may hold.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(work, items, chunksize=CHUNK)
        except BrokenProcessPool:
            raise ValueError(
                "a process of this stage was killed, most likely for want of memory; free some and run again"
            ) from None
