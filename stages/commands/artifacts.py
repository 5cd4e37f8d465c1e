"""What `bind-an-audio sync` stores of a revision beside its numbers: plots, params, lock, the listening page."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from stages.tracking.machines import machine_sentence
from stages.tracking.revisions import revision_hashes, revision_machines

PAGE = "metrics/listening/index.html"
KEPT = "metrics/"
SINGLE = ("params.yaml", "dvc.lock", "dvc.yaml")


def collect_artifacts(repository: Any, sha: str, folder: Path) -> int:
    """Copy a revision's small results into `folder`, at their paths; return how many files there are.

    Read from git, from DVC's cache or from its remote. What is in none of them is left out: a clone without the cache
    has no listening page of a revision that ran elsewhere.
    """
    from dvc.api import DVCFileSystem
    from dvc_data.index import DataIndexDirError

    system = DVCFileSystem(url=repository.root_dir, rev=sha)
    paths = [path for stage in revision_hashes(sha, "outs").values() for path in stage if path.startswith(KEPT)]
    for path in [*SINGLE, *paths]:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            system.get(path, str(target), recursive=True)
        except (OSError, DataIndexDirError):
            continue
    if (folder / PAGE).exists():
        mark_page(folder / PAGE, machine_sentence(revision_machines(sha)))
    return sum(file.is_file() for file in folder.rglob("*"))


def mark_page(page: Path, sentence: str) -> None:
    """Put a sentence at the head of a page's notes. Only copies are marked: the page itself is the same everywhere."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<footer>\n", f"<footer>\n<p>{html.escape(sentence)}</p>\n", 1), encoding="utf-8")
