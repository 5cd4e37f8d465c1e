"""The full preset from `prepare` to a clip, by published formats: at small sizes, and once at the published ones."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
import soundfile

from stages.commands.rehearse import main, prepare_folder, rehearse
from tests.test_pretrained import published  # noqa: F401 - a fixture
from tests.test_towers import published_imagebind


@pytest.mark.slow
def test_every_stage_of_the_full_preset_runs_on_published_files(published, tmp_path):  # noqa: F811
    folder = tmp_path / "rehearsal"
    size = published_imagebind()[0].model_dump()
    prepare_folder(
        folder,
        prepare={"clip_seconds": 2.56},
        encoders={"imagebind": size},
        backbone={"attention_heads": 4},
        train_b={"width": 16, "blocks": 1, "heads": 2},
    )
    (folder / "weights").symlink_to(published)
    rows = rehearse(folder)
    assert [row[0] for row in rows][-1] == "generate"
    samples, rate = soundfile.read(folder / "clip.wav")
    assert len(samples) == 10 * rate == 160_000
    encoders = json.loads((folder / "metrics/encoders.json").read_text())
    assert 0 <= encoders["image_to_audio_recall_at_10"] <= 1
    assert json.loads((folder / "metrics/train_a.json").read_text())["updates"] == 4
    assert json.loads((folder / "metrics/backbone.json").read_text())["parameters"] > 1e6
    config = json.loads((folder / "models/codec/config.json").read_text())
    assert (config["latent_shape"], round(config["scale_factor"], 4)) == ([4, 10, 20], 0.3)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("BIND_AN_AUDIO_FULL_SIZE") != "1", reason="BIND_AN_AUDIO_FULL_SIZE=1 runs it: 20 GiB, 16 GB of disk"
)
def test_the_full_size_fits_20_gib(tmp_path, capfd):
    main(argparse.Namespace(folder=tmp_path / "rehearsal", keep=False))
    *_, last = capfd.readouterr().out.strip().splitlines()
    assert last.startswith("| all |")
    assert float(last.split("|")[3]) < 20 * 1.0737
    assert not Path(tmp_path / "rehearsal").exists()
