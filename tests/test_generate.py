"""`bind-an-audio generate` with published weights at small sizes: lengths, several seeds, devices."""

from __future__ import annotations

import pytest
import soundfile
import torch

from stages.commands import main as commands
from stages.commands.generate import generate, generate_takes
from stages.experiments.experiment_a import ExperimentA
from stages.experiments.experiment_b import ExperimentB
from stages.experiments.fusion import save_experiment
from stages.plumbing.device import device
from stages.published.codec import convert_codec
from stages.published.encoders import convert_encoders
from stages.published.unet import convert_unet
from stages.synthesis.generation import latent_width
from stages.synthesis.unet import load_denoiser
from tests.test_pretrained import published  # noqa: F401 - a fixture
from tests.test_towers import published_imagebind


@pytest.fixture
def models(published, tmp_path, monkeypatch):  # noqa: F811
    """A repository whose codec, backbone and encoders are published ones, with A and B untrained."""
    torch.manual_seed(0)
    root = tmp_path / "repository"
    for name in ("codec", "backbone", "encoders", "experiment_a", "experiment_b"):
        (root / "models" / name).mkdir(parents=True)
    convert_codec(root / "models/codec", published, samples=40_960)
    convert_unet(root / "models/backbone", published, heads=4)
    convert_encoders(root / "models/encoders", published, published_imagebind()[0], "make_an_audio")
    b = {"fusion": "mean", "embedding_dim": 24, "width": 16, "blocks": 1, "heads": 2}
    a = {"fusion": "mean", "embedding_dim": 24, "context_dim": 32, "context_tokens": 1, "length": 77}
    state = ExperimentB(b, torch.randn(77, 32)).state_dict()
    save_experiment(root / "models/experiment_b", b, state)
    state = ExperimentA(a, load_denoiser(root / "models/backbone")).state_dict()
    save_experiment(root / "models/experiment_a", a, state)
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("seconds", [2.5, 3.0, 10.0, 20.0])
def test_a_clip_is_as_long_as_asked(models, seconds):
    clip = generate("three slow rings", seconds=seconds, steps=1, guidance_scale=1.0)
    assert len(clip) == round(seconds * 16_000)
    assert clip.abs().max() <= 1
    assert clip.std() > 0


def test_without_a_length_a_clip_is_as_long_as_those_of_training(models):
    assert len(generate("three slow rings", steps=1, experiment="a")) == 40_960


def test_a_seeds_clip_does_not_depend_on_the_others(models):
    takes = generate_takes([3, 4, 5], "three slow rings", steps=2)
    assert takes.shape == (3, 40_960)
    assert torch.equal(takes[1], generate("three slow rings", seed=4, steps=2))
    assert not torch.equal(takes[0], takes[1])


def test_several_seeds_write_several_files_and_one_seed_one(models):
    arguments = ["generate", "--text", "slow rings", "--steps", "1", "--seconds", "2.5", "--out", "clips/x.flac"]
    commands.main([*arguments, "--seed", "7", "8"])
    commands.main(arguments)
    assert sorted(path.name for path in (models / "clips").iterdir()) == ["x-7.flac", "x-8.flac", "x.flac"]
    samples, rate = soundfile.read(models / "clips/x-7.flac")
    assert (len(samples), rate) == (40_000, 16_000)


@pytest.mark.parametrize(("seconds", "columns"), [(1, 8), (2.5, 20), (9.984, 80), (10, 80), (20, 160), (32, 252)])
def test_the_latents_width_follows_the_length(seconds, columns):
    assert latent_width(seconds) == columns
    assert columns * 2048 >= seconds * 16_000


@pytest.mark.parametrize("seconds", [0.5, 33, float("nan")])
def test_a_length_that_nobody_learned_is_refused(seconds):
    with pytest.raises(ValueError, match="--seconds"):
        latent_width(seconds)


@pytest.mark.parametrize("name", ["cuda", "tpu", "cuda:7"])
def test_a_device_that_is_not_there_is_one_line(monkeypatch, name):
    monkeypatch.setenv("BIND_AN_AUDIO_DEVICE", name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"BIND_AN_AUDIO_DEVICE={name}: torch has no such device here; it has cpu"):
        device()
