"""Peak memory of quality and embed, and seconds of `dvc status`, at 5,000 and 50,000 pairs in shards.

Command: `python -m tests.benchmarks.shards FOLDER [pairs ...]`, FOLDER being a clone in which `dvc repro` has run at
smoke size. Makes FOLDER-<pairs> beside it (50,000 pairs: about 5 GB and 15 minutes on one core) and leaves it there.

The pairs are FOLDER's own over and over, each under an id of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from stages.formats.files import jsonl_line, read_jsonl
from stages.formats.shards import open_file, write_shard
from stages.imagery.image_folder import Drawn, write_shards

Row = dict[str, Any]
STAGES = ("quality", "embed")
SHARD_SIZE = 10_000
# The kernel's own high-water mark of the process; what wait4 tells begins with the parent's memory.
PEAK = """
import runpy
runpy.run_module("stages.{stage}", run_name="__main__")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def main(folder: str, *sizes: str) -> None:
    """Make the pairs, run the stages, print a line a measurement."""
    for size in map(int, sizes or ("5000", "50000")):
        target = Path(f"{folder}-{size}")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target, symlinks=True, ignore=shutil.ignore_patterns("data", ".cache", "mlflow.db"))
        shutil.copytree(Path(folder) / "data/raw", target / "data/raw")
        make_pairs(Path(folder) / "data", target / "data", size)
        for stage in STAGES:
            seconds, output = timed([sys.executable, "-c", PEAK.format(stage=stage)], target)
            print(f"{size} pairs, {stage}: {seconds:.0f} s, at most {int(output.split()[-2]) / 1e6:.3f} GB", flush=True)
        commit = ["dvc", "commit", "--quiet", "--force", "prepare", "decompose", "images", "quality", "embed"]
        print(f"{size} pairs, dvc commit: {timed(commit, target)[0]:.1f} s")
        print(f"{size} pairs, dvc status: {timed(['dvc', 'status'], target)[0]:.1f} s", flush=True)


def make_pairs(source: Path, data: Path, size: int) -> None:
    """Write corpus, decomposed captions and images of `size` pairs."""
    clips = {row["id"]: row for row in read_jsonl(source / "corpus/metadata.jsonl")}
    images = {row["id"]: row for row in read_jsonl(source / "images/metadata.jsonl")}
    rows = [row for row in read_jsonl(source / "decomposed.jsonl") if row["id"] in images]
    chosen = [(f"clip-{number:06d}", row) for number, row in enumerate(islice(cycle(rows), size))]
    for name in ("corpus", "images"):
        (data / name).mkdir(parents=True)
    with open(data / "decomposed.jsonl", "w", encoding="utf-8") as file:
        file.writelines(jsonl_line(row | {"id": item}) for item, row in chosen)
    with open(data / "corpus/metadata.jsonl", "w", encoding="utf-8") as metadata:
        for number, start in enumerate(range(0, size, SHARD_SIZE)):
            shard, part = f"clips-{number:05d}.tar", chosen[start : start + SHARD_SIZE]
            sounds = ((item, {"flac": read(source / "corpus" / clips[row["id"]]["file_name"])}) for item, row in part)
            write_shard(data / "corpus" / shard, sounds)
            for item, row in part:
                metadata.write(jsonl_line(clips[row["id"]] | {"id": item, "file_name": f"{shard}/{item}.flac"}))
    write_shards(data / "images", pictures(source, images, chosen), SHARD_SIZE)


def pictures(source: Path, images: dict[str, Row], chosen: list[tuple[str, Row]]) -> Iterator[Drawn]:
    """The chosen rows' images, as the stage `images` passes them on."""
    for item, row in chosen:
        about = images[row["id"]]
        name = about["file_name"].replace(row["id"], item, 1)
        yield about | {"id": item, "file_name": name}, read(source / "images" / about["file_name"])


def read(path: Path) -> bytes:
    """The bytes of a file."""
    with open_file(path) as file:
        return file.read()


def timed(words: list[str], folder: Path) -> tuple[float, str]:
    """Run a command; return its seconds and its output."""
    start = time.perf_counter()
    environment = os.environ | {"BIND_AN_AUDIO_TRACKING": "off"}
    output = subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - start, output


if __name__ == "__main__":
    main(*sys.argv[1:])
