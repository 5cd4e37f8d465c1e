"""What a benchmark gives, how two calls are timed beside each other, and where the figures stand."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from stages.formats.files import read_json, write_json, write_text
from stages.tracking.machines import in_words, this_machine

NUMBERS, PAGE = Path("metrics/benchmarks.json"), Path("docs/benchmarks.md")
BEGIN, END = "<!-- benchmarks: `python -m tests.benchmarks` writes this table -->", "<!-- benchmarks end -->"
FIGURES = ("ours_s", "peer_s", "ratio", "max_abs_diff", "limit_s")


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of ours and of the peer, and the seconds below which the machine cannot get.

    `what` says in words what was measured beside what, at which size; `max_abs_diff` is the largest difference between
    the outputs of both. None stands for what there is not.
    """

    name: str
    what: str
    ours_s: float
    peer_s: float | None = None
    max_abs_diff: float | None = None
    limit_s: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as long the peer takes."""
        return None if self.peer_s is None else self.peer_s / self.ours_s


@torch.no_grad()
def beside(
    name: str,
    what: str,
    ours: Callable[[], Tensor],
    peer: Callable[[], Tensor],
    repeats: int = 5,
    limit_s: float | None = None,
) -> Row:
    """Time two ways to one tensor: medians of `repeats` runs in turn, after one of each that does not count."""
    difference = float((ours() - peer()).abs().max())
    ours_s, peer_s = (
        median(times) for times in zip(*((timed(ours), timed(peer)) for _ in range(repeats)), strict=True)
    )
    return Row(name, what, ours_s, peer_s, difference, limit_s)


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def record(rows: Iterable[Row], root: Path = Path(".")) -> None:
    """Put rows among those that stand in `metrics/benchmarks.json` and `docs/benchmarks.md`, with date and machine."""
    known: dict[str, dict[str, Any]] = read_json(root / NUMBERS) if (root / NUMBERS).exists() else {}
    alone = ", nothing else on its core" if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR) else ""
    where = {"date": datetime.date.today().isoformat(), "machine": in_words(this_machine()) + alone}
    for row in rows:
        figures = {key: rounded(getattr(row, key)) for key in FIGURES}
        known[row.name] = {**figures, "what": row.what, **where}
    write_json(root / NUMBERS, dict(sorted(known.items())))
    before, _, rest = (root / PAGE).read_text(encoding="utf-8").partition(BEGIN)
    write_text(root / PAGE, f"{before}{BEGIN}\n{page_table(known)}\n{END}{rest.partition(END)[2]}")


def rounded(value: float | None) -> float | None:
    """Four digits, which is more than any of this is worth."""
    return None if value is None else float(f"{value:.4g}")


def page_table(known: dict[str, dict[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = [
        "| row | what | ours, s | peer, s | ratio | largest difference | limit, s | when and where |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in sorted(known.items()):
        cells = ["" if row[key] is None else f"{row[key]:.3g}" for key in FIGURES]
        lines.append(f"| `{name}` | {row['what']} | {' | '.join(cells)} | {row['date']}, {row['machine']} |")
    return "\n".join(lines)


def line(row: Row) -> str:
    """One row for the terminal."""
    cells = [f"{key} {value:.4g}" for key, value in ((key, getattr(row, key)) for key in FIGURES) if value is not None]
    return f"{row.name}: {', '.join(cells)} ({row.what})"
