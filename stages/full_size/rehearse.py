"""`bind-an-audio rehearse`: the full preset from first to last with random weights of the published sizes, on the CPU.

Nothing is downloaded: files in the published formats are written with random weights, then each stage runs from
`prepare` to a generated clip of 10 s, two updates for each training, as a process of its own whose time and peak
memory are printed. Stand-ins are only the corpus (soundworld), GPT-4.1 (rules) and FLUX.1-schnell (pictograms). Where
a stage fails the folder stays, and the same command goes on there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stages.formats.files import read_json, write_json, write_text

ROOT = Path(__file__).parent.parent.parent
STAGES = (
    *("prepare", "decompose", "images", "quality", "encoders", "judges", "codec", "backbone", "embed"),
    *("train_a", "train_b"),
)
MEASURED = "measured.json"
CLIPS = 14
SECONDS = 10
STAND_INS: dict[str, dict[str, Any]] = {
    "prepare": {
        "corpus": "soundworld",
        "folder": "data/raw/none",
        "clips": CLIPS,
        "valid_share": 0.2,
        "test_share": 0.2,
    },
    "decompose": {"backend": "rules"},
    "images": {"backend": "pictograms"},
    "quality": {"max_reject_rate": 1.0},
    "encoders": {"weights": "weights"},
    "judges": {"weights": "weights", "classifier_training": {"updates": 2, "batch_size": 4}},
    "codec": {"weights": "weights"},
    "backbone": {"weights": "weights"},
    "train_a": {"stage_1": {"epochs": 1}, "stage_2": {"epochs": 1}},
    "train_b": {"epochs": 1},
}

# (stage, seconds, peak memory in GB)
StageCost = tuple[str, float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--folder", type=Path, required=True, help="where to work; 16 GB of disk, removed at the end")
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is afterwards")


def main(arguments: argparse.Namespace) -> None:
    """Write the weights, run the stages, print the table. Raises ValueError where a stage fails."""
    folder: Path = arguments.folder
    if not folder.exists():
        prepare_folder(folder)
    elif not (folder / MEASURED).is_file():
        raise ValueError(f"--folder {folder}: is there already and holds no rehearsal; name one that is not there")
    print(table(rehearse(folder)))
    if not arguments.keep:
        shutil.rmtree(folder)


def prepare_folder(folder: Path, **changes: dict[str, Any]) -> None:
    """Make a working folder with `params.yaml`: the full preset, its stand-ins, then `changes` by section."""
    import yaml

    params = yaml.safe_load((ROOT / "presets/full.yaml").read_text(encoding="utf-8"))
    params = merged(merged(params, STAND_INS), changes)
    folder.mkdir(parents=True)
    (folder / "data/raw/none").mkdir(parents=True)
    write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    write_json(folder / MEASURED, [])


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with some of them changed, in the sections below too."""
    return values | {
        key: merged(values[key], change) if isinstance(change, dict) else change for key, change in changes.items()
    }


def rehearse(folder: Path) -> list[StageCost]:
    """Write the weights, run every stage, generate one clip in a prepared folder, as far as that is not done yet.

    Returns a row each. Raises ValueError where one fails.
    """
    run_once("weights", folder, "stages.full_size.stand_ins")
    for stage in STAGES:
        run_once(stage, folder, f"stages.{stage}")
    image = str(sorted((folder / "data/images").glob("*.png"))[0].relative_to(folder))
    words = ["generate", "--text", "three slow rings", "--image", image, "--seconds", str(SECONDS), "--steps", "25"]
    words += ["--out", "clip.wav"]
    return run_once("generate", folder, "stages.commands.main", *words)


def run_once(name: str, folder: Path, module: str, *words: str) -> list[StageCost]:
    """Run `python -m module words` in the folder and measure it, unless that was done before; returns all rows so far.

    Raises ValueError where it fails.
    """
    rows: list[StageCost] = [tuple(row) for row in read_json(folder / MEASURED)]
    if name in [row[0] for row in rows]:
        print(f"{name}: done before", flush=True)
        return rows
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BIND_AN_AUDIO_TRACKING": "off"}
    environment |= {"BIND_AN_AUDIO_CACHE": str(folder.absolute() / ".cache"), "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", module, *words], cwd=folder, env=environment)  # noqa: S603 - our own modules
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(
            f"{name}: ended in the rehearsal with exit code {process.returncode}, its message is above; the same "
            f"command goes on from there, or remove {folder}"
        )
    row = (name, time.monotonic() - started, usage.ru_maxrss * 1024 / 1e9)
    print(f"{row[0]}: {row[1]:.0f} s, {row[2]:.1f} GB at most", flush=True)
    rows.append(row)
    write_json(folder / MEASURED, rows)
    return rows


def table(rows: list[StageCost]) -> str:
    """The measured stages as a Markdown table."""
    lines = ["| stage | seconds | peak memory, GB |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {seconds:.0f} | {peak:.1f} |" for name, seconds, peak in rows]
    total, most = sum(row[1] for row in rows), max(row[2] for row in rows)
    return "\n".join([*lines, f"| all | {total:.0f} | {most:.1f} |"])
