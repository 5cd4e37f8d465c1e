"""What a generated clip remembers, clips from a list of prompts, and what the asker is told."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from setuptools import find_packages  # type: ignore[import-untyped]

import bind_an_audio
from stages.commands import main as commands
from stages.formats.files import read_jsonl, write_json, write_jsonl
from stages.inference.generator import Generator, safe
from stages.inference.provenance import write_clip
from stages.inference.run import Run
from stages.tracking.dependencies import content_md5
from tests.scratch_clone import ROOT, change_params

ASKED = ["generate", "--text", "slow rings", "--image", "red.png", "--steps", "1", "--out", "x.flac"]


def picture(name, colour="red"):
    Path(name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (30, 30), colour).save(name)


def change_weights(path):
    weights = load_file(path)
    save_file({name: value + 0.1 for name, value in weights.items()}, path)


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_a_clip_made_like_another_has_its_bytes(models, capsys, kind):
    picture("red.png")
    commands.main([*ASKED[:-1], f"x.{kind}", "--seed", "7", "--guidance-scale", "2", "--experiment", "a"])
    change_params(sample={"steps": 5, "sampler": "ddim", "guidance_from_timestep": 1})
    commands.main(["generate", "--like", f"x.{kind}", "--out", f"again.{kind}"])
    assert Path(f"x.{kind}").read_bytes() == Path(f"again.{kind}").read_bytes()
    assert f"again.{kind}: the same bytes as x.{kind}" in capsys.readouterr().err
    record = bind_an_audio.read_record(f"x.{kind}")
    assert record["weights"] == {
        f"models/{name}": content_md5(Path("models") / name)
        for name in ("encoders", "codec", "backbone", "experiment_a")
    }
    assert record | {"text": "slow rings", "image": "red.png", "seed": 7, "steps": 1, "guidance_scale": 2} == record
    assert record["code"].startswith("0.")


def test_fast_is_few_steps_whatever_the_params_or_an_earlier_clip_say_and_options_come_first(models):
    slow = {"steps": 100, "sampler": "ddim", "guidance_scale": 3.0, "guidance_from_timestep": 0}
    change_params(sample=slow)
    kept = ("steps", "sampler", "guidance_scale", "guidance_from_timestep")
    commands.main(["generate", "--text", "slow rings", "--fast", "--out", "fast.flac"])
    assert [bind_an_audio.read_record("fast.flac")[key] for key in kept] == [6, "dpm_solver", 3.0, 500]
    commands.main(["generate", "--text", "slow rings", "--fast", "--steps", "2", "--out", "faster.flac"])
    assert [bind_an_audio.read_record("faster.flac")[key] for key in kept] == [2, "dpm_solver", 3.0, 500]
    commands.main(["generate", "--like", "faster.flac", "--fast", "--out", "again.flac"])
    assert Path("again.flac").read_bytes() == Path("fast.flac").read_bytes()
    write_jsonl("prompts.jsonl", [{"text": "slow rings"}])
    commands.main(["generate", "--prompts", "prompts.jsonl", "--fast", "--out", "made"])
    assert Path("made/0001.flac").read_bytes() == Path("fast.flac").read_bytes()


def test_what_keeps_a_clip_from_being_the_same_is_named(models, capsys):
    picture("red.png")
    commands.main([*ASKED, "--experiment", "b"])
    shutil.move("red.png", "moved.png")
    with pytest.raises(ValueError, match=r"red\.png: no such image"):
        commands.main(["generate", "--like", "x.flac", "--out", "again.flac"])
    commands.main(["generate", "--like", "x.flac", "--image", "moved.png", "--out", "again.flac"])
    assert "the same bytes" in capsys.readouterr().err
    commands.main(["generate", "--like", "x.flac", "--image", "moved.png", "--out", "again.flac", "--seed", "3"])
    assert "other bytes than x.flac (other seed)" in capsys.readouterr().err
    change_weights("models/experiment_b/best.safetensors")
    picture("red.png", "blue")
    commands.main(["generate", "--like", "x.flac", "--out", "again.flac"])
    assert "(other image_md5, models/experiment_b)" in capsys.readouterr().err


def test_a_file_without_a_record_is_one_line(models):
    soundfile.write("plain.wav", torch.zeros(99).numpy(), 16_000)
    for name, message in (("plain.wav", "holds no record"), ("params.yaml", "not a clip"), ("none.wav", "not a clip")):
        with pytest.raises(ValueError, match=rf"^{name}: {message}"):
            commands.main(["generate", "--like", name, "--out", "x.wav"])


def test_prompts_become_a_folder_that_says_what_its_clips_are(models):
    picture("asked/red.png")
    prompts = [{"text": "slow rings", "seed": 4}, {"id": "bell", "image": "red.png", "text": "rings", "seconds": 2}]
    write_jsonl("asked/prompts.jsonl", [{"steps": 1, **row} for row in prompts])
    commands.main(["generate", "--prompts", "asked/prompts.jsonl", "--out", "made", "--seed", "1", "2"])
    rows = {row["file_name"]: row for row in read_jsonl("made/metadata.jsonl")}
    assert sorted(rows) == ["0001.flac", "bell-1.flac", "bell-2.flac"]
    assert sorted(path.name for path in Path("made").glob("*.flac")) == sorted(rows)
    assert [rows[name]["seed"] for name in sorted(rows)] == [4, 1, 2]
    assert soundfile.info("made/bell-1.flac").frames == 32_000
    for name, row in rows.items():
        assert bind_an_audio.read_record(Path("made") / name) == {k: v for k, v in row.items() if k != "file_name"}
    commands.main(["generate", "--like", "made/bell-2.flac", "--out", "again.flac"])
    assert Path("again.flac").read_bytes() == Path("made/bell-2.flac").read_bytes()
    with pytest.raises(ValueError, match="--out made: give a folder that is empty"):
        commands.main(["generate", "--prompts", "asked/prompts.jsonl", "--out", "made"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"text": "rings"}, {"txt": "x"}], "prompts.jsonl, prompt 2: unknown key txt"),
        ([{"text": "rings"}, {"text": "!"}], "prompts.jsonl, prompt 2: --text '!': holds no word"),
        ([{"id": "../x", "text": "rings"}], "prompts.jsonl, prompt 1: id '../x'"),
        ([{"id": "x", "text": "rings"}] * 2, "prompts.jsonl, prompt 2: id 'x'"),
        ([{"text": "rings", "seed": "1"}], "prompts.jsonl, prompt 1: --seed '1': give a whole number"),
        ([{"text": "rings", "seed": True}], "prompts.jsonl, prompt 1: --seed True: give a whole number"),
        ([{"text": "rings", "steps": "1"}], "prompts.jsonl, prompt 1: --steps '1'"),
        ([{"text": "rings", "guidance_scale": [2]}], "prompts.jsonl, prompt 1: --guidance-scale [2]"),
        ([{"text": "rings", "seconds": "2"}], "prompts.jsonl, prompt 1: --seconds '2': give a number"),
        ([{"text": 5}], "prompts.jsonl, prompt 1: --text 5"),
        ([{"image": 5}], "prompts.jsonl, prompt 1: --image 5: give the name of a file"),
        (
            [{"id": "dog-1", "text": "rings", "seed": 0}, {"id": "DOG", "text": "rings"}],
            "prompts.jsonl, prompt 2: id 'DOG': another",
        ),
        ([{"image": "none.png"}], "prompts.jsonl, prompt 1: none.png: no such image"),
        ([], "prompts.jsonl: holds no prompt"),
    ],
)
def test_a_prompt_that_cannot_be_made_is_named_before_any_network_is_loaded(models, lines, message):
    Path("prompts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for weights in Path("models").rglob("*.safetensors"):
        weights.write_bytes(b"these would be noticed")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the test looks at
        commands.main(["generate", "--prompts", "prompts.jsonl", "--out", "made", "--seed", "1", "2"])
    assert str(caught.value).startswith(message)
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text", 5, "--text 5: holds no word"),
        ("image", ["red.png"], "--image ['red.png']: give the name of a file"),
        ("seed", "7", "--seed '7'"),
        ("seed", 1.0, "--seed 1.0"),
        ("seconds", "2", "--seconds '2': give a number"),
        ("steps", 2.5, "--steps 2.5"),
        ("steps", True, "--steps True"),
        ("guidance_scale", "2", "--guidance-scale '2'"),
        ("sampler", "euler", "sampler 'euler': input should be 'dpm_solver' or 'ddim'"),
        ("guidance_from_timestep", 1000, "guidance_from_timestep 1000"),
        ("experiment", "c", "experiment 'c'"),
        ("experiment", ["a"], "experiment ['a']"),
    ],
)
def test_a_record_that_no_clip_can_be_made_of_is_named_before_any_network_is_loaded(models, key, value, message):
    record = {"text": "rings", "image": None, "experiment": "a", "seed": 0, "steps": 1, key: value}
    write_clip("x.flac", torch.zeros(99), record)
    for weights in Path("models").rglob("*.safetensors"):
        weights.write_bytes(b"these would be noticed")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what the test looks at
        commands.main(["generate", "--like", "x.flac", "--out", "again.flac"])
    assert str(caught.value).startswith(f"x.flac: {message}")


def test_experiments_that_are_loaded_together_make_what_each_makes_alone(models):
    together = Generator(experiment=("b", "a", "reference"))
    for name in ("a", "b", "reference"):
        alone = Generator(experiment=name)("slow rings", steps=1, seed=3)
        assert torch.equal(together("slow rings", steps=1, seed=3, experiment=name), alone)
    assert not torch.equal(alone, together("slow rings", steps=1, seed=3))
    picture("red.png")
    with pytest.raises(ValueError, match="reads a text alone"):
        together(image="red.png", experiment="reference")
    with pytest.raises(ValueError, match="--experiment a: not loaded"):
        Generator(experiment="b")("rings", experiment="a")


@pytest.mark.parametrize(
    ("text", "image", "said"),
    [
        ("a zeppelin", False, "no caption had any of these words; this run learned bell, dog, in words such as"),
        ("a zeppelin bell", False, "no caption had zeppelin"),
        ("rings slowly", False, "names no source, and no image shows one; this run learned bell, dog"),
        ("rings slowly", True, None),
        ("two bells ring", False, None),
    ],
)
def test_a_text_of_which_the_run_knows_nothing_is_said(models, text, image, said):
    write_json("models/encoders/config.json", {"clap": {}})
    Path("models/encoders/vocab.txt").write_text("[PAD]\na\nbell\ndog\nrings\nslowly\ntwo\nq\n##q\n")
    (models / "models/judges").mkdir()
    write_json("models/judges/config.json", {"sources": ["bell", "dog"]})
    picture("red.png")
    doubts = Run().request(text, "red.png" if image else None).doubts
    assert [doubt.partition(": ")[2].partition(" slowly")[0][: len(said or "")] for doubt in doubts] == (
        [said] if said else []
    )


def test_a_published_tower_has_heard_of_everything(models):
    assert Run().request("a zeppelin").doubts == ()


def test_a_python_program_is_warned(models):
    with pytest.warns(UserWarning, match=r"--seconds 5: this run learned clips of 2\.56 s"):
        Generator()("slow rings", seconds=5, steps=1)


def test_what_would_be_clipped_is_made_quieter_and_says_so():
    clip = safe(torch.tensor([0.5, -2.0]))
    assert clip.waveform.tolist() == [0.25, -1.0]
    assert clip.doubts == ("made 6.0 dB quieter: it would have been clipped",)
    assert safe(torch.tensor([0.5, -1.0])).doubts == ()
    with pytest.raises(ValueError, match="no numbers"):
        safe(torch.tensor([float("nan")]))


@pytest.mark.parametrize("replaced", ["encoders", "experiment_b"])
def test_weights_of_two_runs_are_said(models, capsys, replaced):
    md5 = {name: content_md5(Path("models") / name) for name in ("encoders", "codec", "backbone", "experiment_b")}
    paths = [{"path": f"models/{name}", "md5": value} for name, value in md5.items()]
    embeddings = [{"path": "data/embeddings", "md5": "1.dir"}]
    lock = {"embed": {"deps": paths[:3], "outs": embeddings}, "train_b": {"deps": embeddings, "outs": paths[3:]}}
    for stage, out in (("encoders", 0), ("codec", 1), ("backbone", 2)):
        lock[stage] = {"outs": [paths[out]]}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": lock}))
    asked = ["generate", "--text", "rings", "--steps", "1", "--experiment", "b", "--out", "x.wav"]
    commands.main(asked)
    assert "two runs" not in capsys.readouterr().err
    lock["train_b"]["deps"] = [{"path": "data/embeddings", "md5": "2.dir"}]
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": lock}))
    commands.main(asked)
    assert "data/embeddings is not what dvc.lock has at stage train_b" in capsys.readouterr().err
    lock["train_b"]["deps"] = embeddings
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": lock}))
    Path(f"models/{replaced}/more").touch()
    commands.main(asked)
    assert f"models/{replaced} is not what dvc.lock has at stage" in capsys.readouterr().err


def test_where_there_is_no_run_the_way_there_is_named(models, monkeypatch, tmp_path):
    (models / "notes").mkdir()
    monkeypatch.chdir(models / "notes")
    with pytest.raises(ValueError, match=rf"^params\.yaml: no such file; `cd {models}`$"):
        commands.main(["generate", "--text", "rings", "--out", "x.wav"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="clone the repository, `make repro` there"):
        commands.main(["generate", "--text", "rings", "--out", "x.wav"])
    monkeypatch.chdir(models)
    with pytest.raises(ValueError, match=r"^presets/tiny\.yaml: no such file"):
        commands.main(["generate", "--text", "rings", "--out", "x.wav", "--preset", "tiny"])


def test_the_wheel_has_a_package_of_the_projects_own_name():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert {"bind_an_audio", "stages", "stages.inference"} <= set(find_packages(ROOT, include=settings["include"]))
    assert bind_an_audio.Generator is Generator
