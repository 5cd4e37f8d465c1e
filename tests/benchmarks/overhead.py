"""What this project adds to DVC and to its packages: seconds of a repro with nothing to do, seconds to start a stage.

Command: `python -m tests.benchmarks.overhead FOLDER [repeats]`, FOLDER being a clone in which `dvc repro` has run.
Prints one line a measurement, the best of `repeats` (default 5) runs in turn, since other load only ever adds.

The bare graph has the same stages with the same dependencies and outputs between them, each the command `true` on
small files. Bare imports are the third-party packages that a stage's modules load, in the order in which they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

NO_STAGES = {"__init__"}
THIRD_PARTY = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module("stages.{stage}")
own = {{"stages", *sys.stdlib_module_names}}
loaded = [name for name in sys.modules if name not in before and name.split(".")[0] not in own]
print(json.dumps(list(dict.fromkeys(name.split(".")[0] for name in loaded))), "torch" in sys.modules)
"""


def main(folder: str, repeats: str = "5") -> None:
    """Measure and print."""
    count = int(repeats)
    with tempfile.TemporaryDirectory() as scratch:
        bare = Path(scratch)
        make_bare_graph(Path(folder), bare)
        ours, plain = best([lambda: repro(Path(folder)), lambda: repro(bare)], count)
    print(f"dvc repro, nothing to do: {ours:.2f} s, bare graph {plain:.2f} s, ratio {ours / plain:.2f} (at most 1.15)")
    for stage in sorted(path.stem for path in Path("stages").glob("*.py") if path.stem not in NO_STAGES):
        packages, torch = third_party(stage)
        code = "; ".join(f"import {name}" for name in packages) or "pass"
        own, imports = best([partial(python, f"import stages.{stage}"), partial(python, code)], count)
        limit = "adds at most 0.5 s" if torch else "starts in at most 1 s"
        print(f"{stage}: {own:.2f} s, its packages alone {imports:.2f} s, adds {own - imports:.2f} s ({limit})")


def make_bare_graph(pipeline: Path, folder: Path) -> None:
    """Write a DVC repository with the same stages and files between them, each a few bytes, and run it once."""
    stages = yaml.safe_load((pipeline / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    outputs = {item["path"] for entry in stages.values() for item in entry.get("outs", [])}
    graph: dict[str, Any] = {}
    for name, entry in stages.items():
        made, read = ([item["path"] for item in entry.get(kind, [])] for kind in ("outs", "deps"))
        command = " && ".join(["true", *(f"mkdir -p {Path(path).parent} && echo {name} > {path}" for path in made)])
        graph[name] = {"cmd": command, "deps": read, "outs": made}
        for path in read:
            inside = path not in outputs and not any(path.startswith(f"{output}/") for output in outputs)
            if inside:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text("x")
    # A dependency inside an output folder is that folder here: a file stands in its place.
    for entry in graph.values():
        entry["deps"] = sorted({next((o for o in outputs if path.startswith(f"{o}/")), path) for path in entry["deps"]})
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        subprocess.run(words, cwd=folder, check=True)


def repro(folder: Path) -> None:
    """One `dvc repro` that finds nothing to do."""
    done = subprocess.run(["dvc", "repro"], cwd=folder, check=True, capture_output=True, text=True)
    assert "Running stage" not in done.stdout, "run dvc repro there first"


def third_party(stage: str) -> tuple[list[str], bool]:
    """The packages that importing a stage loads, and whether torch is among them."""
    words = [sys.executable, "-c", THIRD_PARTY.format(stage=stage)]
    names, torch = subprocess.run(words, check=True, capture_output=True, text=True).stdout.rsplit(" ", 1)
    importable = [name for name in json.loads(names) if not name.startswith("_") and name.isidentifier()]
    return importable, torch.strip() == "True"


def python(code: str) -> None:
    """A fresh interpreter that runs `code`."""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, capture_output=True)


def best(calls: list[Callable[[], None]], repeats: int) -> list[float]:
    """Seconds of the fastest of `repeats` calls each, the calls taking turns."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[place].append(time.perf_counter() - start)
    return [min(one) for one in seconds]


if __name__ == "__main__":
    main(*sys.argv[1:])
