"""Measures this project beside peers and the machine's limits and keeps the figures.

Command: `OMP_NUM_THREADS=1 python -m tests.benchmarks [FILE ...] [--small]`: all files of this folder that have a
function `rows`, or the named ones. Reads nothing but what a row's file names; writes `metrics/benchmarks.json` and the
table of `docs/benchmarks.md`, where other rows stay as they are. `--small` tries everything at a size of seconds and
writes nothing. The whole takes about an hour and 8 GB.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from stages.plumbing.running import keep_freed_memory
from tests.benchmarks.table import Row, line, record


def main() -> None:
    """Measure, print a line a row, keep the figures after each file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    benchmarks = found()
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(benchmarks)}; left out: all")
    parser.add_argument("--small", action="store_true", help="at a size of seconds, nothing written")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - set(benchmarks):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(benchmarks)}")
    keep_freed_memory()  # as stages and commands do
    for name in arguments.files or benchmarks:
        rows = benchmarks[name](arguments.small)
        print("\n".join(map(line, rows)), flush=True)
        if not arguments.small:
            record(rows)


def found() -> dict[str, Callable[[bool], list[Row]]]:
    """Each benchmark's `rows(small)` by the name of its file."""
    modules = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))}
    names = [name for name, text in modules.items() if "\ndef rows(small: bool)" in text]
    return {name: import_module(f"tests.benchmarks.{name}").rows for name in names}


if __name__ == "__main__":
    main()
