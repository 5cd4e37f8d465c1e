"""Hold the metrics and plots in git against dvc.lock: each must be what the last run of its stage wrote.

`python -m tests.metrics_and_lock` prints one line for each file that is not, and exits with 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from stages.tracking.dependencies import content_md5
from stages.tracking.revisions import lock_hashes

KINDS = ("outs", "metrics", "plots")


def complaints(root: Path = Path(".")) -> list[str]:
    """Return one line for each uncached output of dvc.yaml that is missing, not in git, or differs from dvc.lock."""
    pipeline = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lock = lock_hashes((root / "dvc.lock").read_text(encoding="utf-8"), "outs")
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True)
    tracked = set(listed.stdout.splitlines())
    lines = []
    for stage, entry in pipeline.items():
        for path in uncached(entry):
            if not (root / path).exists():
                lines.append(f"{path}: missing; run 'dvc repro {stage}' and commit it")
            elif not any(name == path or name.startswith(f"{path}/") for name in tracked):
                lines.append(f"{path}: not in git; commit it with dvc.lock")
            elif content_md5(root / path) != lock.get(stage, {}).get(path):
                lines.append(f"{path}: not what dvc.lock says {stage} wrote; run 'dvc repro {stage}' and commit both")
    return lines


def uncached(entry: dict[str, list[str | dict[str, dict[str, bool]]]]) -> list[str]:
    """Paths of a stage's outputs that live in git: `cache: false`."""
    named = [item for kind in KINDS for item in entry.get(kind, []) if isinstance(item, dict)]
    return [path for item in named for path, options in item.items() if options.get("cache") is False]


if __name__ == "__main__":
    found = complaints()
    print("\n".join(found) or "metrics and plots in git are what dvc.lock says")
    sys.exit(1 if found else 0)
