"""What comes before training, at 1,000, 10,000 and 50,000 pairs: whether its time is linear and its memory flat.

Soundworld and the networks of presets/smoke.yaml, which hardly compute: the seconds are those of going through pairs.
Each stage is a process of its own, as DVC runs it, and uses all cores; counted are seconds of processors, which other
load hardly changes. Beside those at the largest number stand fifty times those at the smallest: a ratio of 1 is linear.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.table import Row
from tests.benchmarks.updates import ROOT

WITHOUT_NETWORKS = ("prepare", "decompose", "images", "quality")
STAGES = (*WITHOUT_NETWORKS, "embed")
WITH_NETWORKS = (*WITHOUT_NETWORKS, "encoders", "codec", "embed")
# Counted by a process between that is small: the kernel begins a child's count with its parent's memory.
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "stages.{stage}"], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def rows(small: bool) -> list[Row]:
    """One row a stage."""
    sizes = (48, 96) if small else (1_000, 10_000, 50_000)
    used: dict[int, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            work = Path(folder) / str(size)
            lay_out(work, size)
            if used:
                (work / "models").symlink_to(Path(folder) / str(sizes[0]) / "models")
            stages = WITHOUT_NETWORKS if small else STAGES if used else WITH_NETWORKS
            used[size] = {stage: run(stage, work) for stage in stages}
            shutil.rmtree(work / "data")
    return [row(stage, {size: found[stage] for size, found in used.items()}) for stage in stages]


def row(stage: str, used: dict[int, tuple[float, float]]) -> Row:
    """A stage's seconds at the largest number of pairs, beside those that the smallest number lets expect."""
    few, many = min(used), max(used)
    seconds, memory = ({size: figures[kind] for size, figures in used.items()} for kind in (0, 1))
    what = (
        f"{stage} of {many:,} pairs, seconds of processors, beside {many / few:g} times those for {few:,}; "
        + ", ".join(f"{seconds[size]:.3g} s and {memory[size]:.2f} GB at most for {size:,}" for size in used)
    )
    return Row(f"pairs_{stage}", what, seconds[many], many / few * seconds[few])


def lay_out(folder: Path, clips: int) -> None:
    """A working folder for so many clips, in shards of a thousand."""
    (folder / "data/raw/none").mkdir(parents=True)
    params: dict[str, Any] = yaml.safe_load((ROOT / "presets/smoke.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"clips": clips, "shard_size": 1000}
    params["images"] |= {"shard_size": 1000}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(ROOT / "dvc.yaml", folder)


def run(stage: str, folder: Path) -> tuple[float, float]:
    """Run a stage; return its processors' seconds and the most memory that one process of it held, in gigabytes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BIND_AN_AUDIO_TRACKING": "off"}
    words = [sys.executable, "-c", MEASURE.format(stage=stage)]
    done = subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) * 1024 / 1e9
