"""The script for a machine with a card, at small size on the CPU: each step runs, fails alone, is skipped alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.gpu import run
from tests.gpu.measuring import difference
from tests.gpu.steps import steps
from tests.test_flux import TRANSFORMER, VAE

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_step_runs_at_small_size(models, tmp_path, capsys):
    small = steps(pairs=12, seconds=1.0, flux_size=TRANSFORMER, flux_vae=VAE, pixels=64)
    unhurried = {name: (step, 0.0) for name, (step, _) in small.items()}
    results = run.measure(unhurried, 300, tmp_path / "gpu.json")
    assert json.loads((tmp_path / "gpu.json").read_text()) == results
    found = results["steps"]
    # Where bitsandbytes is not installed, that step says so and no other is the worse for it.
    nf4 = found.pop("flux_nf4")
    assert "seconds" in nf4 or "bitsandbytes" in nf4["error"]
    assert {name: numbers.get("error") for name, numbers in found.items()} == dict.fromkeys(found)
    assert all(numbers["seconds"] > 0 and numbers["peak_gb"] > 0 for numbers in found.values())
    # The device is the CPU itself here, so nothing may differ from it.
    differences = [numbers["difference"] for numbers in found.values() if "difference" in numbers]
    assert differences == [0.0] * 6
    assert found["train_a_stage_1"]["updates"] == found["train_b"]["updates"] == 2
    assert found["same_update_twice"]["same_bytes"] is True
    assert found["generate_fast"]["steps"] < 12
    assert capsys.readouterr().out.count("peak_gb") >= len(found)


def test_a_step_that_fails_or_has_no_time_left_ends_no_other(tmp_path):
    def broken():
        raise ValueError("of no use")

    wanted = {"broken": (broken, 0.0), "late": (lambda: {"x": 1}, 1e6), "sound": (lambda: {"x": 2}, 0.0)}
    found = run.measure(wanted, 600, tmp_path / "gpu.json")["steps"]
    assert found["broken"]["error"] == "ValueError: of no use"
    assert "it needs about 1000000" in found["late"]["skipped"]
    assert found["sound"]["x"] == 2


def test_a_step_that_does_not_end_is_stopped():
    def endless():
        while True:
            pass

    assert run.taken(endless, 0.05)["error"].startswith("TimeoutError")


def test_missing_packages_are_named_before_anything_else(tmp_path):
    code = (
        "import sys; from tests.gpu import run; run.find_spec = lambda name: None if name == 'imagebind' else 1; "
        "sys.argv = ['run']; run.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("missing: imagebind-unofficial;")


def test_it_needs_neither_pytest_nor_dvc_nor_mlflow():
    code = "import sys, tests.gpu.steps; sys.exit(', '.join({'pytest', 'dvc', 'mlflow'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_difference_is_a_share_of_the_largest_value():
    truth = torch.tensor([0.0, 200.0])
    assert difference(torch.tensor([0.0, 201.0]), truth) == pytest.approx(0.005)
    assert difference({"a": truth, "b": truth / 4 + 1}, {"a": truth, "b": truth / 4}) == pytest.approx(0.02)
