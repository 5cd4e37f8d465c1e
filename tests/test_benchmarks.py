"""The benchmarks run at a small size, their outputs agree with the peers', and their figures are kept row by row."""

from __future__ import annotations

import json

import pytest
import yaml

from stages.inference.run import FAST
from tests.benchmarks.__main__ import found
from tests.benchmarks.clip import evaluations
from tests.benchmarks.fewer_steps import MAKE_AN_AUDIO as RECIPE
from tests.benchmarks.table import BEGIN, END, NUMBERS, PAGE, Row, record
from tests.benchmarks.train_b import SMALL
from tests.scratch_clone import ROOT

AGREE = 1e-4
SLOW = {"pace", "pairs"}  # they run stages


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in found()]
)
def test_outputs_agree_with_the_peers(name):
    for row in found()[name](True):
        assert row.ours_s > 0
        assert row.max_abs_diff is None or row.max_abs_diff < AGREE, row


@pytest.mark.parametrize(("setting", "alone", "pairs"), [(RECIPE, 0, 100), (RECIPE | FAST, 3, 3)])
def test_evaluations_are_those_that_a_sampler_asks_for(setting, alone, pairs):
    assert evaluations(setting, SMALL) == (alone, pairs)


def test_a_row_is_kept_beside_those_that_stand(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / PAGE).write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    record([Row("mel", "fifty clips", 0.5, 2.0, 1e-6, 0.25), Row("steps", "no peer", 3.0)], tmp_path)
    record([Row("mel", "fifty clips", 0.25, 2.0, 1e-6)], tmp_path)
    kept = json.loads((tmp_path / NUMBERS).read_text())
    assert {name: row["ratio"] for name, row in kept.items()} == {"mel": 8.0, "steps": None}
    assert kept["mel"]["date"]
    assert kept["mel"]["machine"]
    page = (tmp_path / PAGE).read_text()
    assert page.startswith(f"before\n{BEGIN}\n| row |")
    assert page.endswith(f"{END}\nafter\n")
    assert "old" not in page
    assert "| `mel` | fifty clips | 0.25 | 2 | 8 | 1e-06 |  | " in page


def test_figures_of_benchmarks_are_no_metrics_of_a_run():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert str(NUMBERS) not in str(pipeline)
