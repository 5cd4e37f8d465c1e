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
# Trains both once a pair of batch size and accumulation, and lets the first process print their curves.
SCRIPT = """
import json, sys
from pathlib import Path
from stages.experiments.training_a import train_experiment_a
from stages.experiments.training_b import train_experiment_b
from stages.params.schema import load_params
from stages.synthesis.unet import build_denoiser
from stages.training.determinism import be_deterministic
from stages.training.parallel import join
from tests.test_alignment import pairs
from tests.test_unet import SMALL

first = join()
params = load_params("presets/smoke.yaml")
learned, valid = pairs(32), pairs(8, seed=1)
found = []
for pair in sys.argv[2:]:
    batch_size, accumulation = map(int, pair.split("x"))
    curves = {}
    for name, section, train in (("a", params.train_a, train_experiment_a), ("b", params.train_b, train_experiment_b)):
        be_deterministic(1)
        regime = section.regime.model_copy(update={"gradient_accumulation": accumulation})
        changes = {"regime": regime, "batch_size": batch_size} | ({"epochs": 3} if name == "b" else {})
        denoiser = build_denoiser(SMALL, latent_channels=4, context_dim=6)
        trained = train(section.model_copy(update=changes), learned, valid, denoiser, Path(sys.argv[1], pair))
        curves[name] = [trained.curve, trained.metrics["teraflops"]]
    found.append(curves)
if first:
    print(json.dumps(found))
"""
pytestmark = pytest.mark.slow


def curves(folder: Path, launcher: list[str], *pairs: str) -> Any:
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *launcher, str(script), str(folder), *pairs]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_processes_and_one_batch_twice_as_large_have_the_losses_of_one_process_with_twice_the_batches(tmp_path):
    (two,) = curves(tmp_path / "two", TWO, "4x1")
    twice, large = curves(tmp_path / "one", [], "4x2", "8x1")
    for name, others in (("a", [two]), ("b", [two, large])):
        assert len(twice[name][0]) > 1
        for other in others:
            for row, wanted in zip(other[name][0], twice[name][0], strict=True):
                assert row == pytest.approx(wanted, rel=1e-4, abs=1e-4), name
        assert two[name][1] == twice[name][1]
