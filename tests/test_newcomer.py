"""The README from top to bottom, as a newcomer types it: `tests/newcomer.sh`, at smoke size in this environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_readmes_commands_lead_to_a_clip_and_a_compared_experiment(reproduced: Path, tmp_path: Path):
    """The first run is restored from a cache: another test runs it."""
    given = {"PRESET": "smoke", "VENV": sys.prefix, "CACHE": str(reproduced / ".dvc/cache")}
    done = subprocess.run(
        ["bash", ROOT / "tests/newcomer.sh"],
        cwd=tmp_path,
        env=os.environ | given | {"CLONE": str(tmp_path / "clone")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "again.flac: the same bytes as clips/dog-1.flac" in done.stderr
    assert "Running stage 'train_b'" in done.stdout
    assert "Running stage 'train_a'" not in done.stdout
    assert re.search(r"^metrics/train_b\.json +best_validation_loss ", done.stdout, re.MULTILINE), "dvc metrics diff"
    assert "workflowType=machine_learning" in done.stdout, "the address that sync prints"
