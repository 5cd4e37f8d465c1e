"""The working tree as a repository of its own, for tests that run the pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.shell import sh

ROOT = Path(__file__).parent.parent


def lay_out_scratch_clone(folder: Path) -> None:
    """Make `folder` a repository of one commit: the working tree, smoke size as params.yaml, a DVC cache of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = sh(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy(folder / "presets" / "smoke.yaml", folder / "params.yaml")
    sh(folder, "git", "init", "--quiet", "--initial-branch", "main")
    sh(folder, "git", "add", "--all")
    sh(folder, "git", "commit", "--quiet", "--message", "Smoke size")
