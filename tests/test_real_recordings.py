"""The same pipeline on real recordings: ESC-10 as a user puts it into data/raw/, at smoke size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from stages.formats.files import read_json, read_jsonl
from tests.scratch_clone import ROOT, change_params
from tests.shell import run_stages
from tests.test_story import SYSTEMS


@pytest.mark.slow
def test_esc10_runs_end_to_end(corpora: Path, tmp_path: Path):
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/esc10").symlink_to(corpora / "esc10")
    prepare = yaml.safe_load((ROOT / "presets/esc10.yaml").read_text())["prepare"] | {"clip_seconds": 1.28}
    change_params(tmp_path / "params.yaml", ROOT / "presets/smoke.yaml", prepare=prepare)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    run_stages(tmp_path, *yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])

    rows = read_jsonl(tmp_path / "data/corpus/metadata.jsonl")
    assert len(rows) == 400
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["split"], set()).add(row["recording"])
    assert splits["train"].isdisjoint(splits["test"])
    assert splits["train"].isdisjoint(splits["valid"])
    assert read_json(tmp_path / "metrics/quality.json")["accepted_share"] > 0.9
    evaluation = read_json(tmp_path / "metrics/evaluation.json")
    for system in SYSTEMS:
        assert {"fad", "kad", "clap_score", "source_accuracy"} <= set(evaluation[system])
        assert "attribute_adherence" not in evaluation[system]
    assert (tmp_path / "metrics/listening/index.html").stat().st_size > 100_000
