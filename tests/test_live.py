"""A stage while it runs, as MLflow shows it: its curve, its machine, and how it ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.mlflow_ui import runs_of
from tests.shell import wait_until

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.usefixtures("tracking")
PIPELINE = "stages: {train_b: {cmd: x, params: [train_b], deps: [params.yaml], outs: [weights]}}"
# Tells `rows` of a curve, waits for the file `go` where `waits`, then writes its output and logs the whole curve.
STAGE = """
import json, pathlib, sys, time
from stages.plumbing.live import tell
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

def main():
    given = json.load(open("given.json"))
    tell(inputs="digest")
    for row in given["rows"]:
        tell(curve="train_b", row=row)
    if given.get("wrong"):
        raise ValueError(given["wrong"])
    while given.get("waits") and not pathlib.Path("go").exists():
        time.sleep(0.05)
    pathlib.Path("weights").write_text("weights")
    log_stage("train_b", {"loss": 0.5}, {"train_b": given["rows"]})

run(main)
"""

# nvidia-ml-py, as it answers on a machine with one card: half of its memory is taken.
CARD = """
from types import SimpleNamespace

class NVMLError(Exception):
    pass

nvmlInit = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetMemoryInfo = lambda card: SimpleNamespace(used=8e9, total=16e9)
nvmlDeviceGetUtilizationRates = lambda card: SimpleNamespace(gpu=70)
nvmlDeviceGetPowerUsage = lambda card: 200_000
nvmlDeviceGetEnforcedPowerLimit = lambda card: 700_000
"""


def rows(first, last):
    return [{"epoch": epoch, "validation_loss": 1 / epoch} for epoch in range(first, last + 1)]


@pytest.fixture
def folder(tmp_path, empty_store):
    """A working folder with a pipeline of one stage and a store of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "train_b.py").write_text(STAGE)
    return tmp_path


def start(folder, **given):
    variables = {name: given.pop(name) for name in list(given) if name.isupper()}
    (folder / "given.json").write_text(json.dumps(given))
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.Popen(
        [sys.executable, "train_b.py"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def stage_runs(folder):
    return runs_of(folder, query="tags.kind = 'stage'")


def one_with(folder, status, metric):
    _, found = stage_runs(folder)
    return next((run for run in found if run.info.status == status and metric in run.data.metrics), None)


@pytest.mark.slow
def test_a_curve_is_live_a_kill_is_marked_and_the_resumed_stage_goes_on_in_the_same_run(folder):
    (folder / "pynvml.py").write_text(CARD)
    process = start(folder, rows=rows(1, 2), waits=True, PYTHONPATH=f"{ROOT}:{folder}")
    live = wait_until(lambda: one_with(folder, "RUNNING", "train_b/validation_loss"))
    assert live.data.metrics["train_b/validation_loss"] == 0.5
    assert live.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert live.data.metrics["system/stage_memory_megabytes"] > 0
    assert live.data.metrics["system/gpu_0_memory_usage_megabytes"] == 8000
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = wait_until(lambda: one_with(folder, "KILLED", "train_b/validation_loss"))
    assert killed.data.tags["mlflow.note.content"].startswith("killed: ")

    again = start(folder, rows=rows(1, 4))
    assert again.communicate()[1] == ""
    client, (finished,) = stage_runs(folder)
    assert finished.info.run_id == killed.info.run_id
    assert finished.info.status == "FINISHED"
    assert finished.data.metrics["loss"] == 0.5
    history = client.get_metric_history(finished.info.run_id, "train_b/validation_loss")
    assert sorted((point.step, point.value) for point in history) == [(n, pytest.approx(1 / n)) for n in range(1, 5)]
    assert list((folder / ".cache/live").iterdir()) == []


def test_a_stage_that_fails_leaves_a_run_that_says_why(folder):
    process = start(folder, rows=rows(1, 1), wrong="params.yaml: train_b.epochs: mend it")
    assert process.communicate()[1] == "error: params.yaml: train_b.epochs: mend it\n"
    failed = wait_until(lambda: one_with(folder, "FAILED", "train_b/validation_loss"))
    assert failed.data.tags["mlflow.note.content"] == "failed: params.yaml: train_b.epochs: mend it"


@contextmanager
def broken_server(hangs):
    """A server that answers 500, or takes requests and never says a word; its address and the requests it got."""
    asked, over = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            if hangs:
                over.wait()
            self.send_error(500)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        over.set()
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hangs", "answers 500", "refuses"])
def test_a_server_that_fails_neither_stops_nor_holds_up_a_stage_and_costs_one_line(folder, kind):
    with broken_server(hangs=kind == "hangs") as (address, asked):
        address = "http://127.0.0.1:9" if kind == "refuses" else address
        process = start(
            folder, rows=rows(1, 3), waits=True, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="1"
        )
        wait_until(lambda: asked or kind == "refuses")
        (folder / "go").touch()
        # No answer has come by now, and none is needed: the output is there.
        wait_until((folder / "weights").exists)
        (line,) = process.communicate()[1].splitlines()
    assert process.returncode == 0
    assert line.startswith("warning: train_b is done, but MLflow did not take its run: ")
    assert "MLFLOW_TRACKING_URI" in line


def test_tracking_off_starts_nobody(folder):
    process = start(folder, rows=rows(1, 3), BIND_AN_AUDIO_TRACKING="off")
    assert process.communicate()[1] == ""
    assert stage_runs(folder)[1] == []
    assert not (folder / ".cache").exists()
