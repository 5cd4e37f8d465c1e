"""The stage `decompose` against loopback servers: what its tests share."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import queue
import runpy
import sqlite3
import subprocess
import sys
import threading
import traceback
from contextlib import closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from stages.formats.files import read_jsonl, write_jsonl
from tests import loopback_openai
from tests.scratch_clone import ROOT, change_params
from tests.shell import PATIENCE_SECONDS

KEY = "sk-planted-key-0123456789"
CAPTIONS = [
    "A small brass bell in a church rings slowly and softly, fading away.",
    "A man speaks followed by a dog barking loudly",
    "Rain falls on a tin roof, steadily and quietly",
    "A siren wails loudly and slowly as it passes by",
    "Loud, continuous buzzing and hissing",
]


class Servers:
    """Starts loopback servers, each in a thread of its own; each has a folder with its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None], threading.Thread]] = []

    def __call__(self, **settings):
        folder = self.folder / f"server-{len(self.running)}"
        folder.mkdir()
        self.said: queue.Queue[str] = queue.Queue()
        loop = asyncio.new_event_loop()
        words = {name: str(value) for name, value in settings.items()}
        task = loop.create_task(loopback_openai.main(folder, words, self.said.put))
        thread = threading.Thread(target=self._serve, args=(loop, task), daemon=True)
        thread.start()
        self.running.append((loop, task, thread))
        return self.next_line(), folder

    @staticmethod
    def _serve(loop, task):
        with suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_until_complete(task)

    def next_line(self) -> str:
        """Wait for what the newest server says next."""
        return self.said.get(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        for loop, task, thread in self.running:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()


def lay_out(folder, captions, **changes):
    """A folder in which the stage runs: params and captions."""
    folder.mkdir(exist_ok=True)
    change_params(folder / "params.yaml", ROOT / "params.yaml", decompose={"backend": "openai", **changes})
    clips = [{"id": f"clip-{n:05}", "split": "train", "caption": text} for n, text in enumerate(captions)]
    write_jsonl(folder / "data/corpus/metadata.jsonl", clips)
    return folder


def environment(address, **more):
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": address,
        "BIND_AN_AUDIO_POLL_SECONDS": "0.01",
        **more,
    }


def stage(folder, address, *words, **more):
    """Run the stage in this process, which spares its start, and return what the command would have given.

    `OPENAI_LOG` is read when openai is imported: here it is given to openai again.
    """
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["stages/decompose.py", *words])
        patch.delitem(sys.modules, "stages.decompose", raising=False)
        for name, value in environment(address, **more).items():
            patch.setenv(name, value)
        with logged_to(err) if "OPENAI_LOG" in more else nullcontext():
            try:
                runpy.run_module("stages.decompose", run_name="__main__")
            except SystemExit as ended:
                code = ended.code
            except Exception:
                code = 1
                traceback.print_exc()
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())  # type: ignore[arg-type]


@contextmanager
def logged_to(stream):
    """What openai's own set-up of logging makes of `OPENAI_LOG`, written to `stream`."""
    from openai._utils._logs import setup_logging

    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    setup_logging()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger("openai").setLevel(logging.NOTSET)


def rows_of(folder):
    return read_jsonl(folder / "data/decomposed.jsonl")


def asked(log_folder):
    return read_jsonl(log_folder / "log.jsonl")


def kept_keys(folder):
    with closing(sqlite3.connect(folder / ".cache/replies.sqlite")) as base:
        return {key for (key,) in base.execute("SELECT key FROM replies")}
