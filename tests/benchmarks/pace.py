"""How much of a server's limit the language-model stage uses: a limited server on loopback, the real stage against it.

The limit is the time in which the server could answer all, given the second's worth that its bucket holds at the start.
Server and stage are processes of their own and mostly wait: a core to itself is not needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from stages.formats.files import read_jsonl, write_jsonl
from tests.benchmarks.table import Row
from tests.benchmarks.updates import ROOT


def rows(small: bool) -> list[Row]:
    """Without and with the `x-ratelimit-*` headers by which a server tells its limit."""
    limit, latency, seconds = (50, 0.05, 2) if small else (100, 0.5, 25)
    found = []
    for headers in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            log = asked_all(Path(folder), limit, latency, limit * seconds, headers)
        answered = [row["time"] - log[0]["time"] for row in log if row["fault"] is None]
        what = (
            f"{len(answered):,} captions through a language model that takes {limit} a second and answers after "
            f"{latency} s, its limit {'told by headers' if headers else 'not told'}; {len(log) - len(answered)} refused"
        )
        found.append(Row(f"pace_limit_{'told' if headers else 'found'}", what, answered[-1], limit_s=seconds - 1))
    return found


def asked_all(folder: Path, limit: int, latency: float, count: int, headers: bool) -> list[dict[str, Any]]:
    """Run the stage on so many captions against a limited server; return the server's log."""
    settings = [f"limit={limit}", f"latency={latency}", *(["headers=1"] if headers else [])]
    words = [sys.executable, "-m", "tests.loopback_openai", str(folder), *settings]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            run_stage(folder / "run", address, count)
        finally:
            server.kill()
    return read_jsonl(folder / "log.jsonl")


def run_stage(folder: Path, address: str, count: int) -> None:
    """Run `stages.decompose` in a folder of its own with no reply kept."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["decompose"] |= {"backend": "openai", "budget_usd": 1000.0}
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    caption = "A dog in a garden barks loudly and slowly, take"
    clips = [{"id": f"clip-{n:06}", "split": "train", "caption": f"{caption} {n}"} for n in range(count)]
    write_jsonl(folder / "data/corpus/metadata.jsonl", clips)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": address,
        "BIND_AN_AUDIO_TRACKING": "off",
    }
    words = [sys.executable, "-m", "stages.decompose"]
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)
