"""What this project adds to DVC and to its packages: seconds of a repro with nothing to do, seconds to start a stage.

Command: `python -m tests.benchmarks.overhead FOLDER [repeats]`, FOLDER being a clone in which `dvc repro` has run.
Prints one line a measurement, the best of `repeats` (default 5) runs in turn, since other load only ever adds.

The equal graph has the same stages, dependencies, params and outputs with as many files in them, each file a byte and
each command `true`. The bare graph has one such file for each output and no params: what folders of clips and params
cost in DVC is the difference between the two. Bare imports are the third-party packages that a stage's modules load,
in the order in which they do.
"""

from __future__ import annotations

import json
import os
import shutil
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
        equal, bare = Path(scratch) / "equal", Path(scratch) / "bare"
        for graph in (equal, bare):
            graph.mkdir()
            make_graph(Path(folder), graph, equal=graph is equal)
        seconds = best([partial(repro, where) for where in (Path(folder), equal, bare)], count)
    print(f"dvc repro, nothing to do: {seconds[0]:.2f} s")
    for name, other, limit in (("equal", seconds[1], " (at most 1.15)"), ("bare", seconds[2], "")):
        print(f"  {name} graph of `true`: {other:.2f} s, ratio {seconds[0] / other:.2f}{limit}")
    for stage in sorted(path.stem for path in Path("stages").glob("*.py") if path.stem not in NO_STAGES):
        packages, torch = third_party(stage)
        code = "; ".join(f"import {name}" for name in packages) or "pass"
        own, imports = best([partial(python, f"import stages.{stage}"), partial(python, code)], count)
        limit = "adds at most 0.5 s" if torch else "starts in at most 1 s"
        print(f"{stage}: {own:.2f} s, its packages alone {imports:.2f} s, adds {own - imports:.2f} s ({limit})")


def make_graph(pipeline: Path, folder: Path, equal: bool) -> None:
    """Write a DVC repository with the same stages and files between them, each a byte, and run it once.

    Where `equal`, params and the number of files in each folder are the pipeline's own as well.
    """
    stages = yaml.safe_load((pipeline / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    outputs = {item["path"]: item.get("nfiles") for entry in stages.values() for item in entry.get("outs", [])}
    graph: dict[str, Any] = {}
    for name, entry in stages.items():
        read = [item["path"] for item in entry.get("deps", [])]
        made = [item["path"] for item in entry.get("outs", [])]
        command = " && ".join(["true", *(fill(path, outputs[path] if equal else None) for path in made)])
        graph[name] = {"cmd": command, "deps": read, "outs": made}
        if equal:
            graph[name]["params"] = sorted(entry.get("params", {}).get("params.yaml", {}))
        for path in read:
            inside = path not in outputs and not any(path.startswith(f"{output}/") for output in outputs)
            if inside:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text("x")
    # A dependency inside an output folder is that folder here: one of its files, or all, stand in its place.
    for entry in graph.values():
        entry["deps"] = sorted({next((o for o in outputs if path.startswith(f"{o}/")), path) for path in entry["deps"]})
    shutil.copy(pipeline / "params.yaml", folder)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}))
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro", "-q"]):
        subprocess.run(words, cwd=folder, check=True)


def fill(path: str, files: int | None) -> str:
    """The shell command that writes an output: a file, or a folder of so many files."""
    if files is None:
        return f"mkdir -p {Path(path).parent} && echo {path} > {path}"
    return f"mkdir -p {path} && for i in $(seq {files}); do echo {path} > {path}/$i; done"


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
