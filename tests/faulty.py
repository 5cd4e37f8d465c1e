"""What tests of faults under a whole pipeline share: stages that never ran, mounts of their own, what is left over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml


def lock_of(repository: Path) -> Any:
    """What dvc.lock holds."""
    return yaml.safe_load((repository / "dvc.lock").read_text(encoding="utf-8"))


def forget(repository: Path, stages: list[str]) -> None:
    """Let stages be as if they had never run: no outputs, no entry in dvc.lock, nothing of theirs in DVC's cache."""
    lock = lock_of(repository)
    for stage in stages:
        for output in lock["stages"].pop(stage).get("outs", ()):
            path = repository / output["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            cached = _cached(repository, output["md5"])
            if cached.exists() and output["md5"].endswith(".dir"):
                for entry in json.loads(cached.read_text()):
                    _cached(repository, entry["md5"]).unlink(missing_ok=True)
            cached.unlink(missing_ok=True)
    (repository / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def _cached(repository: Path, md5: str) -> Path:
    return repository / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def files_of(repository: Path) -> set[str]:
    """Every file that is not a tool's own."""
    paths = (path.relative_to(repository) for path in repository.rglob("*") if path.is_file())
    tools = {".git", ".dvc", ".cache", "__pycache__", "mlartifacts", "mlflow.db"}
    return {path.as_posix() for path in paths if not tools & set(path.parts)}


class Mounts:
    """Commands that may mount: what they mount is seen by them alone, and is gone when the test is."""

    def __init__(self, holder: int) -> None:
        self.holder = holder

    def run(self, folder: Path, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a folder, its output taken."""
        enter = ["nsenter", "--user", "--preserve-credentials", "--mount", f"--target={self.holder}"]
        inside = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *map(str, words)]
        return subprocess.run([*enter, *inside], capture_output=True, text=True, env=os.environ | environment)

    def seen(self, path: Path) -> Path:
        """A path as these commands see it, for this process."""
        return Path(f"/proc/{self.holder}/root{path}")


@contextmanager
def own_mounts() -> Iterator[Mounts]:
    """Skips the test where this user may not mount even in a name space of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here: mounts need Linux")
    words = ["unshare", "--map-root-user", "--mount", "cat"]
    # `cat` ends, and with it the name space, when this process does.
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            holder.stdin.write(b"up\n")
            holder.stdin.flush()
            up = holder.stdout.readline()
        except BrokenPipeError:
            up = b""
        if not up:
            pytest.skip("this user may not mount, not even in a name space of its own")
        yield Mounts(holder.pid)
        holder.kill()
