"""Revisions that DVC can compare, commits with a dvc.lock and DVC experiments, read without checking them out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.tracking.machines import MACHINES, machines_of, read_machines
from stages.tracking.mlflow_store import flatten, repository_root

NO_EXPERIMENT = "commit"
DEFAULT_PRESET = "default"
LONGEST_TAG = 5000  # MLflow refuses more than 8000 letters
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


def own_email() -> str:
    """The address that git writes into your commits; "" where it has none."""
    try:
        return re.sub(r".*<(.*)>.*", r"\1", git("var", "GIT_AUTHOR_IDENT"))
    except ValueError:
        return ""


def locked_commits(author: str | None = None) -> list[str]:
    """Return the commits of all branches and tags whose tree has a dvc.lock, oldest first; `author` is an address."""
    by = [] if author is None else ["--fixed-strings", f"--author=<{author}>"]
    commits = git("rev-list", "--reverse", *by, "--branches", "--tags", "--remotes", "HEAD").split()
    asked = "".join(f"{sha}:./dvc.lock\n" for sha in commits)
    answers = git("cat-file", "--batch-check", given=asked).splitlines()
    return [sha for sha, answer in zip(commits, answers, strict=True) if not answer.endswith(" missing")]


def git_file(sha: str, path: str, folder: Path | None = None) -> str | None:
    """Return a file's text as it stands in a revision, or None where it has none; `path` is from DVC's root."""
    try:
        # Without "./" git would look from its own root, which may lie above DVC's.
        return git("show", f"{sha}:./{path}", folder=folder)
    except ValueError:
        return None


def read_yaml(text: str, origin: str) -> dict[str, Any]:
    """Parse a file of DVC's; an empty one has no keys.

    Raises ValueError that names the file, also where a merge was left unsettled in it.
    """
    if re.search(r"^(<{7}|>{7}) ", text, re.MULTILINE):
        raise ValueError(f"{origin}: holds a merge's conflict marks; settle them as docs/working_together.md says")
    try:
        found = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{origin}: not valid YAML{f' in line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{origin}: holds no keys with values")
    return found


def flat_params(text: str | None) -> dict[str, Any]:
    """The params of a params.yaml or preset, `train_b.epochs` -> 20; none where it cannot be read."""
    try:
        return flatten(read_yaml(text or "", "params"))
    except ValueError:
        return {}


def lock_hashes(text: str, kind: str, origin: str = "dvc.lock") -> Lock:
    """What a dvc.lock says: stage -> path -> md5 of its `deps` or `outs`. Raises ValueError where it is none."""
    lock = read_yaml(text, origin)
    try:
        return {
            stage: {item["path"]: item.get("md5", "missing") for item in entry.get(kind) or []}
            for stage, entry in (lock.get("stages") or {}).items()
        }
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{origin}: not laid out as DVC writes it; `dvc repro` writes it anew") from None


@cache
def revision_hashes(sha: str, kind: str) -> Lock:
    """`lock_hashes` of a revision's dvc.lock."""
    return lock_hashes(git_file(sha, "dvc.lock") or "", kind, f"dvc.lock of {sha[:7]}")


def revision_machines(sha: str) -> dict[str, str]:
    """Which machine made each stage's outputs of a revision; "unknown" where it does not say."""
    return machines_of(revision_hashes(sha, "outs"), read_machines(git_file(sha, MACHINES.as_posix()) or "{}"))


def workspace_outputs() -> Lock:
    """Each stage's outputs (path -> md5) in the working folder, as its dvc.lock has them."""
    return lock_hashes(text_of(repository_root() / "dvc.lock"), "outs")


def workspace_machines() -> dict[str, str]:
    """Which machine made `workspace_outputs`."""
    return machines_of(workspace_outputs(), read_machines(text_of(repository_root() / MACHINES)))


def text_of(path: Path) -> str:
    """What a file holds; nothing where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def revision_presets(sha: str) -> dict[str, dict[str, Any]]:
    """`flat_params` of each `presets/*.yaml` of a revision, by name."""
    names = git("ls-tree", "--name-only", sha, "presets/").splitlines()
    return {Path(name).stem: flat_params(git_file(sha, name)) for name in names if name.endswith(".yaml")}


def corpus_and_preset(
    params: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]], committed: Mapping[str, Any]
) -> dict[str, str]:
    """The MLflow tags `corpus`, `preset` and `preset_changes` of flat `params`.

    The preset is the one of `presets` that differs in the fewest keys. The baseline's `committed` params count as one,
    "default", behind equally near ones. Changes read as `dvc exp run -S` takes them: `train_b.epochs=20 sample.seed=2`.
    """
    changes = {
        name: {key: params.get(key) for key in sorted({*params, *preset}) if params.get(key) != preset.get(key)}
        for name, preset in {**presets, DEFAULT_PRESET: committed}.items()
    }
    preset = min(changes, key=lambda name: len(changes[name]))
    words = " ".join(f"{key}={value}" for key, value in changes[preset].items()) or "none"
    corpus = str(params.get("prepare.corpus", "none"))
    return {"corpus": corpus, "preset": preset, "preset_changes": words[:LONGEST_TAG]}


def git(*arguments: str, given: str | None = None, folder: Path | None = None) -> str:
    """Return what git prints in a folder (left out: DVC's root), letters that are not UTF-8 replaced.

    `given` is its standard input. Raises ValueError with git's complaint.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", *arguments],  # noqa: S607 - git of the PATH
            cwd=folder or repository_root(),
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise ValueError("git: not found; install it") from None
    if done.returncode:
        raise ValueError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
