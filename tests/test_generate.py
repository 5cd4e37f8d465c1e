"""`bind-an-audio generate` with published weights at small sizes: lengths, several seeds, devices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.commands import main as commands
from stages.experiments.experiment_b import EXPERIMENT_B, ExperimentB
from stages.experiments.fusion import save_experiment
from stages.formats.files import read_json, write_json
from stages.inference.generator import QUIET, Generator, decibels
from stages.inference.run import FAST, Run
from stages.plumbing.device import device
from stages.synthesis.samplers import latent_width
from tests.scratch_clone import change_params


def scores(**values):
    write_json("metrics/evaluation.json", {name: {"clap_score": value} for name, value in values.items()})


@pytest.mark.parametrize("seconds", [2.5, 3.0, 10.0, 20.0])
def test_a_clip_is_as_long_as_asked(models, seconds):
    clip = Generator()("three slow rings", seconds=seconds, steps=1, guidance_scale=1.0)
    assert len(clip) == round(seconds * 16_000)
    assert clip.abs().max() <= 1
    assert clip.std() > 0


def test_without_a_length_a_clip_is_as_long_as_those_of_training(models):
    assert len(Generator(experiment="a")("three slow rings", steps=1)) == 40_960


@pytest.mark.parametrize("experiment", ["a", "b"])
def test_networks_are_loaded_once_and_equal_arguments_give_equal_clips(models, experiment):
    make = Generator(experiment=experiment)
    shutil.rmtree("models")
    first, second = (make("three slow rings", steps=2, seed=seed) for seed in (3, 4))
    assert not torch.equal(first, second)
    assert torch.equal(make("three slow rings", steps=2, seed=3), first)


def test_the_tokens_that_a_flow_draws_are_the_seeds(models):
    config = read_json(EXPERIMENT_B / "config.json") | {"flow": {"steps": 2, "noise": 1.0}}
    state = load_file(EXPERIMENT_B / "best.safetensors")
    network = ExperimentB(config, state["generator.mean_tokens"])
    network.load_state_dict(state, strict=False)
    without = Generator(experiment="b")("three slow rings", steps=2, seed=3)
    save_experiment(EXPERIMENT_B, config, network.state_dict())
    make = Generator(experiment="b")
    first, other = (make("three slow rings", steps=2, seed=seed) for seed in (3, 4))
    assert not torch.equal(first, without)
    assert not torch.equal(first, other)
    assert torch.equal(make("three slow rings", steps=2, seed=3), first)


def test_what_is_left_out_is_the_runs_own(models):
    change_params(sample={"steps": 3, "guidance_scale": 1.5, "sampler": "ddim"})
    clip = Generator()("three slow rings")
    change_params(sample={"steps": 1, "guidance_scale": 4.0})
    assert torch.equal(Generator()("three slow rings", steps=3, guidance_scale=1.5), clip)
    assert not torch.equal(Generator()("three slow rings"), clip)
    change_params(sample={"sampler": "dpm_solver"})
    assert not torch.equal(Generator()("three slow rings", steps=3, guidance_scale=1.5), clip)


def test_fast_is_the_fast_setting_and_what_is_given_beside_it_counts(models):
    change_params(sample={"steps": 3, "sampler": "ddim", "guidance_from_timestep": 0})
    make = Generator()
    asked, faster = make("three slow rings", fast=True), make("three slow rings", fast=True, steps=2)
    change_params(sample=FAST)
    make = Generator()
    assert torch.equal(asked, make("three slow rings"))
    assert torch.equal(faster, make("three slow rings", steps=2))
    assert not torch.equal(asked, faster)


@pytest.mark.parametrize(("field", "alike"), [("text_part", True), ("caption", False)])
def test_a_text_is_read_as_the_run_read_it_in_training(models, field, alike):
    change_params(embed={"text": field})
    make = Generator(experiment="a")
    one, other = (make(text, steps=1) for text in ("A bell: rings, slowly!", "a bell rings slowly"))
    assert torch.equal(one, other) == alike


@pytest.mark.parametrize(
    ("found", "better"),
    [({"experiment_a": 0.5, "experiment_b": 0.4}, "a"), ({"experiment_a": 0.1, "experiment_b": 0.2}, "b")],
)
def test_the_experiment_is_the_one_that_the_evaluation_found_better_and_it_says_so(models, capsys, found, better):
    scores(**found)
    assert Generator().experiment == better
    commands.main(["generate", "--text", "rings", "--steps", "1", "--out", "x.wav"])
    assert (
        f"experiment {better}: its clap_score is the higher one in metrics/evaluation.json" in capsys.readouterr().err
    )
    commands.main(["generate", "--text", "rings", "--steps", "1", "--out", "x.wav", "--experiment", "a"])
    assert "clap_score" not in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{}", "<<<<<<<", '{"experiment_a": {"clap_score": null}}'])
def test_without_an_evaluation_it_is_said_which_experiment_is_taken(models, content):
    Path("metrics").mkdir()
    if content is not None:
        Path("metrics/evaluation.json").write_text(content)
    assert Run().better() == (
        "b",
        "experiment b: no clap_score of both in metrics/evaluation.json says which is better",
    )
    shutil.rmtree("models/experiment_b")
    assert Run().better() == ("a", "experiment a: the only one with weights")
    shutil.rmtree("models/experiment_a")
    with pytest.raises(ValueError, match=r"models/experiment_\*: no trained weights there"):
        Run().better()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "\N{DOG FACE}"], "--text '\N{DOG FACE}': holds no word"),
        (["--text", "!!!"], "--text '!!!': holds no word"),
        (["--text", " "], "--text ' ': holds no word"),
        (["--text", "", "--image", "red.png"], "--text '': holds no word"),
        ([], "--text and --image are both missing"),
        (["--image", "none.png"], "none.png: no such image"),
        (["--image", "params.yaml"], "params.yaml: not an image"),
        (["--text", "rings", "--seed", "-1"], "--seed -1: give a whole number, 0 or more"),
        (["--text", "rings", "--seed", "1", "-5"], "--seed -5"),
        (["--text", "rings", "--steps", "0"], "--steps 0"),
        (["--text", "rings", "--guidance-scale", "0.5"], "--guidance-scale 0.5"),
        (["--text", "rings", "--guidance-scale", "nan"], "--guidance-scale nan"),
        (["--text", "rings", "--guidance-scale", "inf"], "--guidance-scale inf"),
        (["--text", "rings", "--seconds", "0.2"], "--seconds 0.2"),
        (["--text", "rings", "--seed", "3", "4", "3"], "--seed 3: is given twice"),
        (["--text", "rings", "--out", "x.mp3"], "--out x.mp3"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_network_is_loaded(models, words, message):
    Image.new("RGB", (30, 30), "red").save("red.png")
    for weights in Path("models").rglob("*.safetensors"):
        weights.write_bytes(b"these would be noticed")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the test looks at
        commands.main(["generate", "--out", "x.wav", *words])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["encoders/imagebind", "encoders/clap", "codec/vocoder", "experiment_b/best"])
def test_weights_that_are_half_there_are_one_line(models, name):
    path = Path("models") / f"{name}.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], None):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^models: weights that are not whole") as caught:
            Generator(experiment="b")
        assert "\n" not in str(caught.value)
    shutil.rmtree(path.parent)
    with pytest.raises(ValueError, match=rf"^models/{path.parent.name}: no trained weights there"):
        Generator(experiment="b")


def test_a_clip_that_is_nearly_silent_is_said(models, capsys):
    path = Path("models/codec/vocoder.safetensors")
    weights = load_file(path)
    save_file({name: value * (not name.startswith("conv_post")) for name, value in weights.items()}, path)
    commands.main(["generate", "--text", "rings", "--steps", "1", "--out", "x.wav"])
    assert "x.wav: nearly silent (-inf dB)" in capsys.readouterr().err
    assert decibels(torch.full((9,), 0.01)) == pytest.approx(QUIET)


def test_a_clip_longer_than_those_of_training_is_said(models, capsys):
    for seconds, said in (("5", True), ("2.5", False)):
        commands.main(["generate", "--text", "rings", "--steps", "1", "--out", "x.wav", "--seconds", seconds])
        assert ("this run learned clips of 2.56 s" in capsys.readouterr().err) == said


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
