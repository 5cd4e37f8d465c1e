"""Experiments A and B trained by two processes, as a launcher starts them, against one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
# On GPUs `accelerate launch` calls this launcher; on a CPU it starts one process.
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# Trains both and lets the first process print their curves.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from stages.experiments.training_a import train_experiment_a
from stages.experiments.training_b import train_experiment_b
from stages.params.schema import load_params
from stages.synthesis.unet import build_denoiser
from stages.training.determinism import be_deterministic
from stages.training.parallel import join
from tests.test_alignment import pairs
from tests.test_unet import SMALL

work, batch_size, accumulation = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
first = join()
params = load_params("presets/smoke.yaml")
train, valid = pairs(32), pairs(8, seed=1)
curves = {}
for name, section, function in (("a", params.train_a, train_experiment_a), ("b", params.train_b, train_experiment_b)):
    be_deterministic(1)
    regime = section.regime.model_copy(update={"gradient_accumulation": accumulation})
    changes = {"regime": regime, "batch_size": batch_size}
    if name == "b":
        changes["epochs"] = 3
    denoiser = build_denoiser(SMALL, latent_channels=4, context_dim=6)
    trained = function(section.model_copy(update=changes), train, valid, denoiser, work)
    curves[name] = [trained.curve, trained.metrics["teraflops"]]
if first:
    print(json.dumps(curves))
"""
pytestmark = pytest.mark.slow


def curves(folder: Path, launcher: list[str], batch_size: int, accumulation: int) -> Any:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    words = [str(script), str(folder / "work"), str(batch_size), str(accumulation)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def twice_the_batches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One process that takes two batches of 4 an update."""
    return curves(tmp_path_factory.mktemp("one") / "run", [], 4, 2)


def test_two_processes_have_the_losses_of_one_with_twice_the_batches(tmp_path, twice_the_batches):
    two = curves(tmp_path / "two", TWO, 4, 1)
    for name, (wanted, teraflops) in twice_the_batches.items():
        assert len(wanted) > 1
        for row, other in zip(two[name][0], wanted, strict=True):
            assert row == pytest.approx(other, rel=1e-4, abs=1e-4), name
        assert two[name][1] == teraflops


def test_b_has_the_losses_of_one_batch_twice_as_large(tmp_path, twice_the_batches):
    one = curves(tmp_path / "large", [], 8, 1)
    for row, other in zip(one["b"][0], twice_the_batches["b"][0], strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-4)
