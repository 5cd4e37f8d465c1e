"""The full preset from `prepare` to a clip, by published formats: at small sizes, and once at the published ones."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from stages.full_size.rehearse import ROOT, main, prepare_folder, rehearse, run_once
from stages.params.schema import load_params
from stages.towers.roberta import RobertaTower
from tests.test_laion_clap import CONFIG, checkpoint, write_laion_clap, write_tokenizer
from tests.test_published import published  # noqa: F401 - a fixture
from tests.test_towers import published_imagebind


def test_the_rehearsals_params_are_ones_that_the_stages_take(tmp_path):
    """A key that trainings gained was missing, which only the rehearsal itself would have said."""
    prepare_folder(tmp_path / "rehearsal")
    params = load_params(tmp_path / "rehearsal/params.yaml")
    full = load_params(ROOT / "presets/full.yaml")
    assert params.judges.classifier_training.updates == 2
    assert params.judges.classifier_training.learning_rate == full.judges.classifier_training.learning_rate
    assert params.train_b.width == full.train_b.width


@pytest.mark.slow
def test_every_stage_of_the_full_preset_runs_on_published_files(published, tmp_path, capfd):  # noqa: F811
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
    (folder / "measured.json").write_text('[["weights", 1.0, 0.5]]')
    # What fails is tried again by the same command, and what was done is not.
    checkpoint = published / "laion_clap/630k-audioset-best.pt"
    with pytest.raises(ValueError, match=r"judges: ended in the rehearsal with exit code 1.* goes on from there"):
        rehearse(folder)
    assert "none of 630k-audioset-best.pt" in capfd.readouterr().err
    write_laion_clap(published)
    assert checkpoint.is_file()
    main(argparse.Namespace(folder=folder, keep=True))
    shown = capfd.readouterr().out
    assert "encoders: done before" in shown
    assert "judges: done before" not in shown
    assert shown.strip().splitlines()[-1].startswith("| all |")
    assert [row[0] for row in json.loads((folder / "measured.json").read_text())][-1] == "generate"
    samples, rate = soundfile.read(folder / "clip.wav")
    assert len(samples) == 10 * rate == 160_000
    encoders = json.loads((folder / "metrics/encoders.json").read_text())
    assert 0 <= encoders["image_to_audio_recall_at_10"] <= 1
    assert -1 <= json.loads((folder / "metrics/judges.json").read_text())["clap_score_matched"] <= 1
    assert json.loads((folder / "metrics/train_a.json").read_text())["updates"] == 4
    assert json.loads((folder / "metrics/backbone.json").read_text())["parameters"] > 1e6
    config = json.loads((folder / "models/codec/config.json").read_text())
    assert (config["latent_shape"], round(config["scale_factor"], 4)) == ([4, 10, 20], 0.3)
    # And on to the results, with LAION-CLAP's scores.
    for group in ("references", "a", "b"):
        run_once(f"sample {group}", folder, f"stages.sample_{group}")
    run_once("evaluate", folder, "stages.evaluate")
    evaluation = json.loads((folder / "metrics/evaluation.json").read_text())
    matched = json.loads((folder / "metrics/judges.json").read_text())["clap_score_matched"]
    assert evaluation["real"]["clap_score"] == pytest.approx(matched, abs=1e-3)
    assert {"codec", "reference", "experiment_a", "experiment_b", "floor"} <= evaluation.keys()


@pytest.mark.slow
def test_experiment_b_learns_laion_claps_token_features_instead(published, tmp_path):  # noqa: F811
    folder = tmp_path / "rehearsal"
    prepare_folder(folder)
    (published / "laion_clap").mkdir()
    torch.save(checkpoint(RobertaTower(CONFIG)), published / "laion_clap/630k-audioset-best.pt")
    write_tokenizer(published / "roberta-base")
    (folder / "weights").symlink_to(published)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    small = yaml.safe_load((ROOT / "presets/smoke.yaml").read_text())
    params |= {name: small[name] for name in ("judges", "codec", "backbone", "train_b")}
    params["prepare"]["clip_seconds"] = small["prepare"]["clip_seconds"]
    params["encoders"] |= {"clap": "laion_clap", "imagebind": published_imagebind()[0].model_dump()}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("prepare", "decompose", "images", "quality", "encoders", "codec", "backbone", "embed", "train_b"):
        run_once(stage, folder, f"stages.{stage}")
    config = json.loads((folder / "models/experiment_b/config.json").read_text())
    tokens = load_file(folder / "data/embeddings/train.safetensors")
    assert config["width"] == small["train_b"]["width"]
    assert load_file(folder / "models/experiment_b/best.safetensors")["generator.mean_tokens"].shape == (
        77,
        CONFIG["hidden_size"],
    )
    assert any(value.shape[1:] == (77, CONFIG["hidden_size"]) for value in tokens.values())
    assert json.loads((folder / "metrics/train_b.json").read_text())["best_validation_diffusion_loss"] > 0


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there already and holds no rehearsal"):
        main(argparse.Namespace(folder=tmp_path, keep=False))
    assert (tmp_path / "kept.txt").read_text() == "mine"


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
