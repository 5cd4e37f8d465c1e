"""The same pipeline on real recordings: ESC-10 as a user puts it into data/raw/, at smoke size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.scratch_clone import lay_out_scratch_clone
from tests.shell import sh
from tests.test_story import SYSTEMS


@pytest.mark.slow
def test_esc10_runs_end_to_end(corpora: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    lay_out_scratch_clone(clone)
    shutil.copytree(corpora / "esc10", clone / "data/raw/esc10")
    sh(clone, "dvc", "add", "--quiet", "data/raw/esc10")
    params = yaml.safe_load((clone / "presets/smoke.yaml").read_text())
    params["prepare"] = yaml.safe_load((clone / "presets/esc10.yaml").read_text())["prepare"]
    params["prepare"]["clip_seconds"] = 1.28
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    sh(clone, "dvc", "repro")

    rows = [json.loads(line) for line in (clone / "data/corpus/metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 400
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["split"], set()).add(row["recording"])
    assert splits["train"].isdisjoint(splits["test"])
    assert splits["train"].isdisjoint(splits["valid"])
    quality = json.loads((clone / "metrics/quality.json").read_text())
    assert quality["accepted_share"] > 0.9
    evaluation = json.loads((clone / "metrics/evaluation.json").read_text())
    for system in SYSTEMS:
        assert {"fad", "kad", "clap_score", "source_accuracy"} <= set(evaluation[system])
        assert "attribute_adherence" not in evaluation[system]
    assert (clone / "metrics/listening/index.html").stat().st_size > 100_000
