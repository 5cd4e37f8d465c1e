"""A stage's memory does not grow with the corpus as its mels do: peaks at one size and at seven times as many clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from stages.formats.files import read_jsonl, write_jsonl
from stages.training.stored import stored
from tests.shell import run_stages

STAGES = ("encoders", "judges", "codec", "backbone", "embed")


def peaks(project: Path, folder: Path, times: int) -> dict[str, float]:
    """Peak memory in MiB of each stage where every clip of the corpus is there `times` times."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".git", ".dvc", "mlflow.db", "mlartifacts"))
    for name in ("data/corpus/metadata.jsonl", "data/quality/accepted.jsonl"):
        rows = read_jsonl(folder / name)
        write_jsonl(folder / name, [row | {"id": f"{row['id']}-{copy}"} for row in rows for copy in range(times)])
    return run_stages(folder, *STAGES)


@pytest.mark.slow
def test_seven_times_the_clips_take_little_more_memory(reproduced, tmp_path):
    few, many = (peaks(reproduced, tmp_path / str(times), times) for times in (1, 7))
    assert len(few) == len(STAGES)
    # 350 clips more for training. Their mels alone take 9 MiB, all that was made on the way to them took 500 MiB.
    assert {stage: round(many[stage] - few[stage]) for stage in few if many[stage] - few[stage] > 250} == {}


def test_what_is_stored_in_pieces_is_what_the_pieces_are_joined(tmp_path):
    pieces = [torch.arange(6).reshape(2, 3).short(), torch.zeros(0, 3).short(), torch.full((1, 3), -7).short()]
    whole = stored(tmp_path / "work" / "x", pieces)
    assert whole.dtype == torch.int16
    assert torch.equal(whole, torch.cat(pieces))
    assert list((tmp_path / "work").iterdir()) == []
