"""MLflow's real UI on a loopback port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving import free_port, serving


@contextmanager
def mlflow_ui(folder: Path) -> Iterator[str]:
    """Serve the store of `folder` as the docs do and yield the address; the server ends with the block."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--port", str(port), "--workers", "1"]
    with serving(command, f"{url}/health", folder / ".cache" / "ui.log"):
        yield url
