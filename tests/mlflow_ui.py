"""MLflow of a folder: its runs, and its real UI on a loopback port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from stages.tracking.stage_runs import STAGES_EXPERIMENT
from tests.serving import free_port, serving


def runs_of(folder: Path, experiment: str = STAGES_EXPERIMENT, query: str = "") -> tuple[MlflowClient, list[Any]]:
    """A client of the store of `folder`, and the runs of an experiment that a query finds."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    known = client.get_experiment_by_name(experiment)
    return client, list(client.search_runs([known.experiment_id], query)) if known else []


@contextmanager
def mlflow_ui(folder: Path) -> Iterator[str]:
    """Serve the store of `folder` as the docs do and yield the address; the server ends with the block."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--port", str(port), "--workers", "1"]
    with serving(command, f"{url}/health", folder / ".cache" / "ui.log"):
        yield url
