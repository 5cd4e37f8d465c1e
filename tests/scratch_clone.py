"""The working tree as a repository of its own, and params.yaml with changes, for tests that run stages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from stages.full_size.rehearse import merged
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


def change_params(file: Path | str = "params.yaml", source: Path | None = None, **changes: dict[str, Any]) -> None:
    """Write `file`: itself, or `source`, with keys of its sections changed."""
    params = yaml.safe_load((source or Path(file)).read_text(encoding="utf-8"))
    Path(file).write_text(yaml.safe_dump(merged(params, changes), sort_keys=False), encoding="utf-8")
