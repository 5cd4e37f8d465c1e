"""The commands that README and docs give: those of a newcomer's walk through the README, and what the others need.

`python3 tests/readme_commands.py` prints the walk as a shell script; `tests/newcomer.sh` runs it.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS = ("bind-an-audio", "dvc", "git", "make", "mlflow", "pip", "pytest", "python")
# Sections whose blocks a newcomer types from top to bottom.
WALK = ("Run it", "Use it", "Change something")
# What is no part of the walk, with what it needs or which test runs it.
NEEDS = {
    "python3.11 -m venv .venv": "instead of `make repro`",
    ". .venv/bin/activate": "instead of `make repro`",
    "pip install -c constraints.txt -e .": "instead of `make repro`, which runs it",
    "pip install --no-deps -r requirements-towers.txt": "instead of `make repro`, which runs it",
    "dvc repro": "instead of `make repro`, which runs it",
    "PIP_EXTRA_INDEX_URL=ADDRESS make repro": "an index with a CPU build of PyTorch",
    "make check": "three minutes: continuous integration runs all that it does",
    "make demo": "somebody who ends it: tests/test_demo.py",
    "dvc exp apply transformer": "a choice: tests/test_story.py",
    "git commit -a": "a choice: tests/test_story.py",
    "git checkout COMMIT": "a choice: tests/test_story.py",
    "bind-an-audio show": "`make repro` runs it",
    'make study SEEDS="1 2 3" ARMS="a-mean b-mean b_best-mean"': "an hour: tests/test_study_trial.py",
    "bind-an-audio study --page": "trainings of the study: tests/test_study.py",
    "mkdir -p data/raw": "the recordings: tests/test_real_recordings.py",
    "cp -r PATH/TO/ESC-10 data/raw/esc10": "the recordings: tests/test_real_recordings.py",
    "dvc add data/raw/esc10": "the recordings: tests/test_own_data.py adds others",
    "cp presets/esc10.yaml params.yaml": "the recordings",
    "dvc exp run -n esc10": "the recordings",
    "git checkout params.yaml dvc.lock metrics": "the recordings",
    "dvc checkout": "the recordings; the walk ends with it, too",
    "bind-an-audio weights --preset full": "10 GB from the network: tests/test_weights.py",
    "cp presets/full.yaml params.yaml": "published weights",
    "BIND_AN_AUDIO_DEVICE=cuda dvc exp run -n full": "a GPU and published weights",
    "bind-an-audio rehearse --folder /tmp/full": "16 GB of disk: tests/test_rehearsal.py",
    "bind-an-audio memory": "10 GB of memory: tests/test_memory.py",
    "bind-an-audio decomposition-report metadata.csv": "captions of yours: tests/test_own_data.py",
    ".venv/bin/dvc repro": "it is what does not work",
}


def blocks(text: str) -> list[str]:
    """Lines of the blocks marked bash, and what stands after the prompts of those marked console."""
    lines = [line for block in re.findall(r"(?ms)^```bash\n(.*?)^```", text) for line in block.splitlines()]
    shown = re.findall(r"(?ms)^```console\n(.*?)^```", text)
    return lines + [line[2:] for block in shown for line in block.splitlines() if line.startswith("$ ")]


def python_blocks(page: str, root: Path = ROOT) -> list[str]:
    """The blocks marked python of a page by its name."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", (root / page).read_text(encoding="utf-8"))


def inline(text: str) -> list[str]:
    """What stands in backticks and begins with a program's name, an environment variable before it or not."""
    prose = re.sub(r"(?ms)^```.*?^```|<!--.*?-->", "", text)
    named = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\S*/)?(?:{'|'.join(PROGRAMS)})(?:3[.\d]*)? \S")
    return [code for code in re.findall(r"`([^`\n]+)`", prose) if named.match(code)]


def commands(lines: list[str]) -> list[str]:
    """One command each: without comments, those joined by && apart."""
    found = []
    for line in lines:
        words = shlex.split(line, comments=True, posix=False)
        found += [part.strip() for part in " ".join(words).split("&&") if part.strip()]
    return found


def walk(readme: str) -> str:
    """The walk's blocks as a shell script."""
    sections = re.split(r"(?m)^## ", readme)
    chosen = [section for name in WALK for section in sections if section.startswith(f"{name}\n")]
    assert len(chosen) == len(WALK), f"README lacks one of the sections {', '.join(WALK)}"
    lines = [line for section in chosen for line in blocks(section)]
    return "\n".join(line for line in lines if not set(commands([line])) <= NEEDS.keys())


if __name__ == "__main__":
    sys.stdout.write(walk((ROOT / "README.md").read_text(encoding="utf-8")) + "\n")
