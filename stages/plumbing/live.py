"""What a stage tells of itself while it runs: lines in a file, so that no tracking server can stop or slow it.

A second process, `stages.tracking.follower`, takes them to MLflow. It sees the stage end, also by a kill.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.plumbing.environment import cache_folder

PATIENCE_SECONDS = 60.0  # for the follower, once the stage is done


def notes_path() -> Path:
    """The file of this process's notes; where there is none, nobody follows."""
    return cache_folder() / "live" / f"{socket.gethostname()}-{os.getpid()}.jsonl"


def tell(**note: Any) -> bool:
    """Append a note, JSON values by name; returns whether somebody follows this process."""
    if not (path := notes_path()).exists():
        return False
    with suppress(OSError), open(path, "a", encoding="utf-8") as file:  # a full disk is the stage's trouble, not ours
        file.write(json.dumps(note) + "\n")
    return True


@contextmanager
def followed(stage: str) -> Iterator[None]:
    """Let a second process take this stage's notes to MLflow until the block ends, and how it ended.

    The stage waits for it at most a minute, at its end. Nobody follows without a pipeline, or where tracking is off.
    """
    path, follower = notes_path(), None
    if Path("dvc.yaml").exists() and os.environ.get("BIND_AN_AUDIO_TRACKING", "").lower() != "off":
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            words = [sys.executable, "-m", "stages.tracking.follower", stage, str(path.resolve()), str(os.getpid())]
            # In a session of its own: what kills the stage must leave somebody to say so.
            out, errors = subprocess.DEVNULL, subprocess.PIPE
            follower = subprocess.Popen(words, stdout=out, stderr=errors, start_new_session=True)  # noqa: S603 - our own module
        except OSError:
            path.unlink(missing_ok=True)  # else `tell` believes that somebody reads
    try:
        yield
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        tell(end=status, why=" ".join(str(error).split())[:300] or type(error).__name__)
        raise
    tell(end="FINISHED")
    if follower is not None:
        try:
            problem = follower.communicate(timeout=PATIENCE_SECONDS)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            problem = f"it has not answered for {PATIENCE_SECONDS:g} s, and is still asked in the background"
        for line in problem.splitlines()[-1:]:
            print(f"warning: {stage} is done, but MLflow did not take its run: {line}", file=sys.stderr)
