"""Which split a stage learns from: the foundation is for what was trained before the experiment, never for A and B."""

import shutil
from pathlib import Path

import pytest
import torch

from stages import backbone, codec, embed, encoders, judges
from stages.formats.files import write_jsonl

ROOT = Path(__file__).parents[1]


class ReadError(Exception):
    """Raised where a stage reads its clips, so that nothing is trained; holds their splits."""


@pytest.fixture
def accepted(tmp_path, monkeypatch):
    """Write one accepted clip for each of some splits into a folder with the smoke preset."""

    def write(*splits):
        shutil.copy(ROOT / "presets/smoke.yaml", tmp_path / "params.yaml")
        monkeypatch.chdir(tmp_path)
        clip = {"caption": "A bell rings", "sources": ["bell"], "attributes": {}}
        rows = [clip | {"id": split, "split": split, "file_name": f"{split}.flac"} for split in splits]
        for file in ("data/quality/accepted.jsonl", "data/corpus/metadata.jsonl"):
            (tmp_path / file).parent.mkdir(parents=True)
            write_jsonl(tmp_path / file, rows)

    return write


def splits_read(monkeypatch, stage):
    """The splits of the clips that the stage reads first."""
    clips = stage.accepted_clips

    def read(split=None):
        raise ReadError({row["split"] for row in clips(split)})

    monkeypatch.setattr(stage, "accepted_clips", read)
    monkeypatch.setattr(stage, "work_folder", lambda name: None)
    if stage is backbone:
        monkeypatch.setattr(stage, "load_codec", lambda: None)
        monkeypatch.setattr(stage, "load_clap", lambda: (None, None))
    with pytest.raises(ReadError) as caught:
        stage.main()
    torch.use_deterministic_algorithms(False)
    return caught.value.args[0]


@pytest.mark.parametrize("stage", [encoders, judges, codec, backbone])
def test_towers_judges_codec_and_backbone_learn_from_the_foundation_where_there_is_one(accepted, monkeypatch, stage):
    accepted("foundation", "test", "train", "valid")
    assert splits_read(monkeypatch, stage) == {"foundation"}


@pytest.mark.parametrize("stage", [encoders, judges, codec, backbone])
def test_without_a_foundation_they_learn_from_train(accepted, monkeypatch, stage):
    accepted("test", "train", "valid")
    assert splits_read(monkeypatch, stage) == {"train"}


def test_what_a_and_b_learn_from_is_embedded_without_the_foundation(accepted, monkeypatch):
    accepted("foundation", "test", "train", "valid")

    def batches(function, items, **_):
        raise ReadError([row["split"] for batch in items for row in batch])

    monkeypatch.setattr(embed, "map_batches", batches)
    with pytest.raises(ReadError) as caught:
        embed.main()
    assert sorted(caught.value.args[0]) == ["test", "train", "valid"]
