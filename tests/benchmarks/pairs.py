"""What comes before training, at 1,000 and at 10,000 pairs: whether its time is linear and its memory flat.

Soundworld and the networks of presets/smoke.yaml, which hardly compute: the seconds are those of going through pairs.
Each stage is a process of its own, as DVC runs it, and uses all cores; counted are seconds of processors, which other
load hardly changes. Beside those at the larger number stand ten times those at the smaller: a ratio of 1 is linear.
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

STAGES = ("prepare", "decompose", "images", "quality", "embed")
NETWORKS = ("encoders", "codec")
# Counted by a process between that is small: the kernel begins a child's count with its parent's memory.
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "stages.{stage}"], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def rows(small: bool) -> list[Row]:
    """One row a stage."""
    few, many = (48, 96) if small else (1_000, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        less, more = Path(folder) / "less", Path(folder) / "more"
        lay_out(less, few)
        at_few = {stage: run(stage, less) for stage in (*STAGES[:-1], *NETWORKS, STAGES[-1])}
        lay_out(more, many)
        (more / "models").symlink_to(less / "models")
        at_many = {stage: run(stage, more) for stage in STAGES}
    found = []
    for stage in STAGES:
        (seconds, peak), (seconds_of_few, peak_of_few) = at_many[stage], at_few[stage]
        what = (
            f"{stage} of {many:,} pairs, seconds of processors, beside {many / few:g} times those for {few:,}; "
            f"{peak:.2f} GB at most, for {few:,} {peak_of_few:.2f}"
        )
        found.append(Row(f"pairs_{stage}", what, seconds, many / few * seconds_of_few))
    return found


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
