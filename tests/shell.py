"""Commands as a user types them, and stages without their start, for the stories."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 900.0
# Each stage in a process of its own, which shares what is imported: at small size a stage's start is most of its time.
STAGES_IN_TURN = """
import os, resource, sys
from importlib import import_module
for stage in [import_module(f"stages.{name}") for name in sys.argv[1:]]:
    if not os.fork():
        stage.main()
        print("peak", stage.__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, stage
"""


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


def run_stages(folder: Path, *stages: str) -> dict[str, float]:
    """Run stages in a folder one after the other, without DVC; return the most memory of each in MiB."""
    said = sh(folder, sys.executable, "-c", STAGES_IN_TURN, *stages)
    return {stage: float(peak) for stage, peak in re.findall(r"(?m)^peak stages\.(\w+) (.+)$", said)}


def wait_until(condition: Callable[[], Any], state: Callable[[], Any] = lambda: "") -> Any:
    """Ask until the answer is true, and return it; what is waited for goes on by itself. `state` explains a failure."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < end, f"what was waited for did not come: {state()}"
        time.sleep(0.05)
    return answer
