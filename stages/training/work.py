"""Where a training run keeps its checkpoint: a folder named by a hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from stages.plumbing.environment import cache_folder
from stages.plumbing.live import tell
from stages.tracking.dependencies import stage_hashes


def work_folder(stage: str) -> Path:
    """The stage's folder for checkpoints: params, inputs and code of dvc.yaml's entry go into its name.

    A run that was killed finds its checkpoint there; a run with another param, input or line of code does not.
    """
    digest = hashlib.sha256(json.dumps(stage_hashes(stage), sort_keys=True).encode()).hexdigest()
    tell(inputs=digest)
    return cache_folder() / "training" / f"{stage}-{digest[:16]}"


def remove_work(work: Path) -> None:
    """Remove the checkpoints of a stage whose outputs stand, so that `dvc repro --force` trains anew."""
    shutil.rmtree(work, ignore_errors=True)
