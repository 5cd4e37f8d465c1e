"""How much of a server's limit the language-model stage uses: a limited server on loopback, the real stage against it.

Command: `python -m tests.benchmarks.pace [seconds] [latency] [limit ...]` (default: 25 s each at 20 and 100 requests a
second, half a second until an answer)
For each limit, without OpenAI's `x-ratelimit-*` headers and with them, prints two shares of the limit: over the whole
run, what the server's bucket held at the start not counted, and after the first six latencies, in which the stage goes
from 8 requests under way to as many as it needs.

Server and stage are processes of their own: on a machine that others use as well, this measures the others too.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from stages.formats.files import read_jsonl, write_jsonl

ROOT = Path(__file__).parents[2]
START_LATENCIES = 6
SOURCES = ("dog", "bell", "man", "engine", "siren", "bird", "frog", "clock", "train", "woman")
PLACES = ("garden", "church", "street", "forest", "kitchen", "field", "harbour", "station")
SOUNDS = ("rings loudly and slowly", "hums softly and steadily", "repeats quickly, then fades", "sounds once, quietly")


def main(seconds: str = "25", latency: str = "0.5", *limits: str) -> None:
    """Measure and print."""
    for limit, headers in itertools.product(map(int, limits or ("20", "100")), (False, True)):
        with tempfile.TemporaryDirectory() as folder:
            texts = captions(int(limit * float(seconds)))
            print(measure(Path(folder), limit, headers, float(latency), texts), flush=True)


def captions(count: int) -> list[str]:
    """So many distinct captions in ordinary words."""
    pairs = itertools.product(SOURCES, PLACES, SOUNDS)
    kinds = [f"A {source} in a {place} {sound}" for source, place, sound in pairs]
    return [f"{kinds[number % len(kinds)]}, take {number}" for number in range(count)]


def measure(folder: Path, limit: int, headers: bool, latency: float, texts: list[str]) -> str:
    """Run the stage against a limited server and say how it fared."""
    settings = [f"limit={limit}", f"latency={latency}", *(["headers=1"] if headers else [])]
    words = [sys.executable, "-m", "tests.loopback_openai", str(folder), *settings]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            run_stage(folder / "run", address, texts)
        finally:
            server.kill()
    rows = read_jsonl(folder / "log.jsonl")
    answered = [row["time"] - rows[0]["time"] for row in rows if row["fault"] is None]
    whole = (len(answered) - limit) / answered[-1]
    start = START_LATENCIES * latency
    steady = sum(time > start for time in answered) / (answered[-1] - start)
    return (
        f"limit {limit}/s, answers after {latency} s, {'with' if headers else 'no'} headers: {len(answered)} answers "
        f"in {answered[-1]:.1f} s, {100 * whole / limit:.1f} % of the limit, {100 * steady / limit:.1f} % after the "
        f"first {start:.1f} s (at least 95), {len(rows) - len(answered)} refused"
    )


def run_stage(folder: Path, address: str, texts: list[str]) -> None:
    """Run `stages.decompose` in a folder of its own with no reply kept."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["decompose"] |= {"backend": "openai", "budget_usd": 1000.0}
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    clips = [{"id": f"clip-{n:06}", "split": "train", "caption": text} for n, text in enumerate(texts)]
    write_jsonl(folder / "data/corpus/metadata.jsonl", clips)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "sk-none",
        "OPENAI_BASE_URL": address,
        "BIND_AN_AUDIO_TRACKING": "off",
    }
    words = [sys.executable, "-m", "stages.decompose"]
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
