"""The process that takes a stage's notes to MLflow while the stage runs; started by `stages.plumbing.live`.

`python -m stages.tracking.follower STAGE NOTES PROCESS`. It marks the run when the stage ends, fails or is killed, and
samples the machine meanwhile (CPU, memory and, where nvidia-ml-py is installed, GPUs). After each batch it rests a
hundred times as long as it computed for it, so that it costs less than 1 % of the time, and after a failure for a pause
that doubles: a server that is back gets all that it missed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stages.tracking.mlflow_store import reason, repository_root, tracking_client
from stages.tracking.stage_runs import MetricPoint, StageRun, curve_points

LOOK_SECONDS = 0.1
BATCH_SECONDS = 10.0
REST = 100.0
LONGEST_PAUSE = 300.0


class Follower:
    """What one stage told and MLflow does not have yet."""

    def __init__(self, stage: str, notes: Path, process: int) -> None:
        self.stage, self.process, self.root = stage, process, repository_root()
        self.file = notes.open(encoding="utf-8")
        self.rest = ""
        self.run: StageRun | None = None
        self.waiting: list[dict[str, Any]] = []
        self.began, self.monitors = time.monotonic(), list[Any]()

    def read(self) -> None:
        """Take the notes that were added; the last one may be there in part."""
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        for line in lines:
            with suppress(ValueError):  # a full disk may have cut a note off
                self.waiting.append(json.loads(line))

    def ended(self) -> bool:
        """Whether the stage has told its end, or has ended without a word."""
        alive = os.getppid() == self.process
        self.read()
        if not alive and not any("end" in note for note in self.waiting):
            self.waiting.append({"end": "KILLED", "why": "the process was killed"})
        return any("end" in note for note in self.waiting)

    def write(self) -> None:
        """Bring MLflow up to date. Raises where it does not take everything; what it took is not given again."""
        with tracking_client(self.root) as client:
            self.run = run = self.run or StageRun(client, self.stage, self.process)
            run.add(client, self.machine())
            while self.waiting:
                note = self.waiting[0]
                if "inputs" in note:
                    run.resume(client, note["inputs"])
                elif "row" in note:
                    rows = [one for one in self.waiting if one.get("curve") == note["curve"]]
                    run.add(client, curve_points(note["curve"], [one["row"] for one in rows]))
                    self.waiting = [note, *(one for one in self.waiting if one.get("curve") != note["curve"])]
                elif "done" in note:
                    run.finish(client, **note["done"])
                else:
                    run.end(client, note["end"], note.get("why", ""))
                self.waiting.pop(0)

    def machine(self) -> list[MetricPoint]:
        """A sample of the machine under the names of MLflow's system metrics, and of the stage's own memory."""
        if not self.monitors:
            from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            self.monitors.append(CPUMonitor())
            with suppress(ImportError, RuntimeError):  # no nvidia-ml-py, no GPU
                self.monitors.append(GPUMonitor())
        values: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        with suppress(psutil.Error):
            values["stage_memory_megabytes"] = psutil.Process(self.process).memory_info().rss / 1e6
        seconds = int(time.monotonic() - self.began)
        return [(f"system/{name}", float(value), seconds) for name, value in values.items()]


def main(stage: str, notes: str, process: str) -> None:
    """Follow until the stage has ended and MLflow knows it; raises where MLflow does not take the end."""
    import mlflow  # noqa: F401 - seconds that no batch is to count

    follower = Follower(stage, Path(notes), int(process))
    due, failures = 0.0, 0
    try:
        while True:
            ended = follower.ended()
            if ended or time.monotonic() >= due:
                computed = time.process_time()
                try:
                    follower.write()
                    failures, pause = 0, max(BATCH_SECONDS, REST * (time.process_time() - computed))
                except Exception:
                    if ended:
                        raise
                    failures += 1
                    pause = min(BATCH_SECONDS * 2**failures, LONGEST_PAUSE)
                    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
                if ended:
                    return
                due = time.monotonic() + pause
            time.sleep(LOOK_SECONDS)
    finally:
        Path(notes).unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(reason(error))
