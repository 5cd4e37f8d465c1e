"""Check a DVC remote end to end: push a probe, wipe the cache, pull it back, compare hashes.

Command: `bind-an-audio storage-check [--remote NAME]`
Reads the remote's settings from this repository (`.dvc/config`, `.dvc/config.local`). Works in a folder of its own:
your cache and data are not touched. Its random probes (a file, and a folder of two), 2 KiB each, stay on the remote.
Seconds, by the remote's latency.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stages.plumbing.redaction import redacted

PROBES = ("probe.bin", "folder/one.bin", "folder/two.bin")
PROBE_BYTES = 2048
DONE = "pushed, cache wiped, pulled"
SECRET_NAMES = ("key", "secret", "password", "token", "credential", "connection_string")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to a parser."""
    parser.add_argument("--remote", help="name of the remote (the default one)")


def main(arguments: argparse.Namespace) -> None:
    """Check the remote and say so.

    Raises ValueError where there is no such remote or a step of the round trip fails.
    """
    name, settings = remote_settings(arguments.remote)
    round_trip(name, settings)
    print(f"remote {name} ({scrubbed(settings['url'], settings)}): {DONE}, {len(PROBES)} hashes equal")


def remote_settings(name: str | None) -> tuple[str, dict[str, Any]]:
    """Return the name of a remote of this repository (None: the default) and its settings.

    Raises ValueError where there is none.
    """
    from dvc.repo import Repo

    with Repo(".") as repo:
        remotes = {key: dict(value) for key, value in repo.config["remote"].items()}
        chosen = name or repo.config["core"].get("remote")
    if chosen is None:
        raise ValueError("no default remote; `dvc remote add --default NAME URL`, or name one with --remote")
    if chosen not in remotes:
        raise ValueError(f"--remote={chosen}: no such remote; this repository has {', '.join(remotes) or 'none'}")
    return chosen, remotes[chosen]


def round_trip(name: str, settings: dict[str, Any]) -> None:
    """Push probes to the remote from a repository made for it, wipe its cache, pull, compare.

    Raises ValueError naming the step that failed.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    shown = f"remote {name} ({scrubbed(settings['url'], settings)})"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written = {}
        for probe in PROBES:
            content = os.urandom(PROBE_BYTES)
            (root / probe).parent.mkdir(exist_ok=True)
            (root / probe).write_bytes(content)
            written[probe] = hashlib.sha256(content).hexdigest()
        step = "push"
        try:
            with Repo.init(folder, no_scm=True) as repo, repo.config.edit("local") as config:
                config["remote"] = {name: settings}
                config["core"] = {"remote": name}
            with Repo(folder) as repo:
                repo.add([str(root / "probe.bin"), str(root / "folder")])
                repo.push(remote=name)
                cache = repo.cache.local.path
            step = "wiping the cache"
            shutil.rmtree(cache)
            (root / "probe.bin").unlink()
            shutil.rmtree(root / "folder")
            step = "pull"
            with Repo(folder) as repo:
                repo.pull(remote=name)
        # Every remote's package raises errors of its own kind.
        except Exception as error:
            cause = error.__cause__ if isinstance(error, DvcException) and error.__cause__ else error
            reason = scrubbed(str(cause), settings) or type(cause).__name__
            raise ValueError(f"{shown}: {step} failed: {reason}; mend it by `dvc remote modify {name}`") from None
        read = {probe: hashlib.sha256((root / probe).read_bytes()).hexdigest() for probe in PROBES}
    differing = [probe for probe in PROBES if read[probe] != written[probe]]
    if differing:
        raise ValueError(f"{shown}: {', '.join(differing)} came back otherwise than it went; take another remote")


def scrubbed(text: str, settings: dict[str, Any]) -> str:
    """Return a short text on one line, without the secrets of a remote's settings, of the environment or of a URL."""
    known = [*settings.items(), *((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))]
    secrets = [str(value or "") for name, value in known if any(word in name.lower() for word in SECRET_NAMES)]
    return redacted(re.sub(r"//[^/@\s]+@", "//***@", text), secrets)
