"""The stage `decompose` against loopback servers: what its tests share."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import yaml

from stages.formats.files import read_jsonl, write_jsonl

ROOT = Path(__file__).parents[1]
KEY = "sk-planted-key-0123456789"
CAPTIONS = [
    "A small brass bell in a church rings slowly and softly, fading away.",
    "A man speaks followed by a dog barking loudly",
    "Rain falls on a tin roof, steadily and quietly",
    "A siren wails loudly and slowly as it passes by",
    "Loud, continuous buzzing and hissing",
]


class Servers:
    """Starts loopback servers; each has a folder with its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def __call__(self, **settings):
        folder = self.folder / f"server-{len(self.processes)}"
        folder.mkdir()
        words = [f"{name}={value}" for name, value in settings.items()]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.loopback_openai", str(folder), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return self.next_line(), folder

    def next_line(self) -> str:
        """Wait for the newest server's next line."""
        stdout = self.processes[-1].stdout
        assert stdout is not None
        return stdout.readline().strip()


def lay_out(folder, captions, **changes):
    """A folder in which the stage runs: params and captions."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["decompose"] |= {"backend": "openai", **changes}
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    clips = [{"id": f"clip-{n:05}", "split": "train", "caption": text} for n, text in enumerate(captions)]
    write_jsonl(folder / "data/corpus/metadata.jsonl", clips)
    return folder


def environment(address, **more):
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": address,
        "BIND_AN_AUDIO_TRACKING": "off",
        "BIND_AN_AUDIO_POLL_SECONDS": "0.01",
        **more,
    }


def stage(folder, address, *words, **more):
    return subprocess.run(
        [sys.executable, "-m", "stages.decompose", *words],
        cwd=folder,
        env=environment(address, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(folder):
    return read_jsonl(folder / "data/decomposed.jsonl")


def asked(log_folder):
    return read_jsonl(log_folder / "log.jsonl")


def kept_keys(folder):
    with closing(sqlite3.connect(folder / ".cache/replies.sqlite")) as base:
        return {key for (key,) in base.execute("SELECT key FROM replies")}
