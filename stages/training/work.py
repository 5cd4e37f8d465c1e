"""Where a training run keeps its checkpoint: a folder named by a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

from stages.formats.files import UnwritableError, write_json
from stages.plumbing.environment import cache_folder
from stages.plumbing.live import tell
from stages.tracking.dependencies import stage_hashes
from stages.training.parallel import is_first

MADE_FROM = "made_from.json"


def work_folder(stage: str) -> Path:
    """The stage's folder for checkpoints: params, inputs and code of dvc.yaml's entry go into its name.

    A run that was killed finds its checkpoint there; a run with another param, input or line of code does not. Where
    a checkpoint of the same params lies in another folder, it is said which inputs or files of code differ.
    """
    hashes = stage_hashes(stage)
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    tell(inputs=digest)
    work = cache_folder() / "training" / f"{stage}-{digest[:16]}"
    if is_first() and not (work / MADE_FROM).exists():
        for other in sorted(work.parent.glob(f"{stage}-*")):
            _say_what_differs(stage, hashes, work, other)
        with suppress(UnwritableError):  # it is told when the first checkpoint cannot be written
            write_json(work / MADE_FROM, hashes)
    return work


def _say_what_differs(stage: str, hashes: dict[str, dict[str, Any]], work: Path, other: Path) -> None:
    """Say how to go on from a checkpoint of the same params that another state of code or inputs has made."""
    try:
        before = json.loads((other / MADE_FROM).read_text(encoding="utf-8"))
        same_params = before["params"] == hashes["params"]
        names = sorted(hashes["deps"].keys() | before["deps"].keys())
        changed = [name for name in names if hashes["deps"].get(name) != before["deps"].get(name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    if same_params and any(other.glob("*.safetensors")):
        print(
            f"{stage}: begins anew, though {other} holds a checkpoint of these params; changed since then: "
            f"{', '.join(changed)}. If that changes no result, stop and go on from it by "
            f"`rm -r {quote(str(work))} && mv {quote(str(other))} {quote(str(work))}`"
        )


def remove_work(work: Path) -> None:
    """Remove the checkpoints of a stage whose outputs stand, so that `dvc repro --force` trains anew."""
    shutil.rmtree(work, ignore_errors=True)
