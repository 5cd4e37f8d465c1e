"""Commands as a user types them, for the stories."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 900.0


def sh(folder: Path, *command: str, **environment: str) -> str:
    """Run a command, return what it printed; its output explains a failure."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def stages_run(output: str) -> list[str]:
    """Names of the stages that DVC says it ran."""
    return re.findall(r"Running stage '(\w+)'", output)


def wait_until(condition: Callable[[], Any], state: Callable[[], Any] = lambda: "") -> Any:
    """Ask until the answer is true, and return it; what is waited for goes on by itself. `state` explains a failure."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < end, f"what was waited for did not come: {state()}"
        time.sleep(0.05)
    return answer
