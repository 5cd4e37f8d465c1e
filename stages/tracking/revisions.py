"""Revisions that DVC can compare, commits with a dvc.lock and DVC experiments, read without checking them out."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.tracking.machines import MACHINES, machines_of, read_machines

NO_EXPERIMENT = "commit"
Lock = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Revision:
    """A commit (`experiment` is "commit", its own baseline) or a DVC experiment."""

    sha: str
    experiment: str
    baseline: str

    @property
    def label(self) -> str:
        """Short hash and name, as people quote it."""
        return f"{self.sha[:7]} {self.experiment}"


def open_repository() -> Any:
    """Return DVC's `Repo` of the working folder.

    Raises ValueError where there is none.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Repo()
    except NotDvcRepoError:
        raise ValueError(f"{Path.cwd()}: no DVC repository; run from the repository's root") from None


def known_experiments(repository: Any) -> dict[str, Revision]:
    """Return every DVC experiment of the repository by its hash."""
    listed = repository.experiments.ls(all_commits=True)
    rows = ((baseline, name, sha) for baseline, found in listed.items() for name, sha in found)
    return {sha: Revision(sha, name, baseline) for baseline, name, sha in sorted(rows) if sha}


def find_revision(name: str, experiments: Mapping[str, Revision]) -> Revision:
    """Return the experiment or commit called `name`.

    Raises ValueError where it is neither, or where experiments of two baselines bear the name.
    """
    named = [found for found in experiments.values() if found.experiment == name]
    if len(named) > 1:
        shas = ", ".join(found.sha[:7] for found in named)
        raise ValueError(f"{name}: {len(named)} experiments are called so; give one of {shas}")
    if named:
        return named[0]
    try:
        sha = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except ValueError:
        raise ValueError(f"{name}: neither a commit nor a DVC experiment; see `git log` and `dvc exp list`") from None
    return experiments.get(sha, commit_revision(sha))


def commit_revision(sha: str) -> Revision:
    """Return the revision of a plain commit."""
    return Revision(sha, NO_EXPERIMENT, sha)


def locked_commits() -> list[str]:
    """Return the commits of all branches and tags whose tree has a dvc.lock, oldest first."""
    commits = git("rev-list", "--reverse", "--branches", "--tags", "--remotes", "HEAD").split()
    asked = "".join(f"{sha}:dvc.lock\n" for sha in commits)
    answers = git("cat-file", "--batch-check", given=asked).splitlines()
    return [sha for sha, answer in zip(commits, answers, strict=True) if not answer.endswith(" missing")]


def git_file(sha: str, path: str) -> str | None:
    """Return a file's text as it stands in a revision, or None where it has none."""
    try:
        return git("show", f"{sha}:{path}")
    except ValueError:
        return None


def lock_hashes(text: str, kind: str) -> Lock:
    """What a dvc.lock says: stage -> path -> md5 of its `deps` or `outs`."""
    lock = yaml.safe_load(text) or {}
    return {
        stage: {item["path"]: item.get("md5", "missing") for item in entry.get(kind, [])}
        for stage, entry in lock.get("stages", {}).items()
    }


def revision_hashes(sha: str, kind: str) -> Lock:
    """`lock_hashes` of a revision's dvc.lock."""
    return lock_hashes(git_file(sha, "dvc.lock") or "", kind)


def revision_machines(sha: str) -> dict[str, str]:
    """Which machine made each stage's outputs of a revision; "unknown" where it does not say."""
    return machines_of(revision_hashes(sha, "outs"), read_machines(git_file(sha, MACHINES.as_posix()) or "{}"))


def workspace_machines() -> dict[str, str]:
    """Which machine made each stage's outputs in the working folder, as its dvc.lock has them."""
    lock = Path("dvc.lock").read_text(encoding="utf-8") if Path("dvc.lock").exists() else ""
    known = MACHINES.read_text(encoding="utf-8") if MACHINES.exists() else "{}"
    return machines_of(lock_hashes(lock, "outs"), read_machines(known))


def revision_presets(sha: str) -> dict[str, str]:
    """Text of each `presets/*.yaml` of a revision, by name."""
    names = git("ls-tree", "--name-only", sha, "presets/").splitlines()
    return {Path(name).stem: git_file(sha, name) or "{}" for name in names if name.endswith(".yaml")}


def git(*arguments: str, given: str | None = None) -> str:
    """Return what git prints; `given` is its standard input.

    Raises ValueError with git's complaint.
    """
    done = subprocess.run(["git", *arguments], input=given, capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise ValueError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
