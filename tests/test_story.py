"""What a user does from the first run on, at smoke size in a scratch clone: run, change, compare, apply, go back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

from stages.formats.files import write_jsonl
from tests.mlflow_ui import runs_of
from tests.readme_commands import python_blocks
from tests.shell import sh, stages_run
from tests.smoke_reference import REFERENCE, complaints, read_run

SYSTEMS = ["real", "codec", "reference", "experiment_a", "experiment_b", "floor"]
METRICS = ["fad", "kad", "clap_score", "source_accuracy", "attribute_adherence", "seen", "heard"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tracking")]


@pytest.fixture(scope="module")
def reproduced(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the first run: each test goes on where the one before it ended."""
    return shutil.copytree(reproduced, tmp_path_factory.mktemp("story") / "clone", symlinks=True)


def test_first_run_leaves_every_result(reproduced: Path):
    evaluation = json.loads((reproduced / "metrics/evaluation.json").read_text())
    assert list(evaluation)[:6] == SYSTEMS
    for system in SYSTEMS:
        assert set(METRICS) <= set(evaluation[system])
    page = (reproduced / "metrics/listening/index.html").read_text()
    assert page.count("data:audio/flac") == 2 * len(SYSTEMS)
    for folder in ("experiment_a", "experiment_b"):
        assert (reproduced / "models" / folder / "best.safetensors").stat().st_size > 10_000
    for name in ("train_a", "train_b"):
        header, *rows = (reproduced / f"metrics/curves/{name}.tsv").read_text().splitlines()
        assert "validation_diffusion_loss" in header.split("\t")
        assert len(rows) >= 2


def test_first_run_is_in_mlflow_a_stage_a_run_under_one_parent(reproduced: Path):
    stages = yaml.safe_load((reproduced / "dvc.yaml").read_text())["stages"]
    _, runs = runs_of(reproduced, query="tags.kind = 'stage' and attributes.status = 'FINISHED'")
    assert sorted(run.data.tags["stage"] for run in runs) == sorted(stages)
    (parent,) = runs_of(reproduced, query="tags.kind = 'pipeline'")[1]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}


def test_first_run_agrees_with_the_reference_whatever_the_processor(reproduced: Path):
    assert complaints(read_run(reproduced), json.loads(REFERENCE.read_text())) == []


def test_second_repro_runs_nothing(reproduced: Path):
    output = sh(reproduced, "dvc", "repro")
    assert stages_run(output) == []
    assert sh(reproduced, "git", "status", "--porcelain") == ""


def test_generate_makes_a_seeded_clip_from_text_image_or_both(reproduced: Path):
    image = next((reproduced / "data/images").glob("*.png")).relative_to(reproduced)
    prompts: dict[str, dict[str, Any]] = {
        "text": {"text": "three slow rings"},
        "image": {"image": str(image)},
        "both": {"text": "three slow rings", "image": str(image)},
        "seed": {"text": "three slow rings", "image": str(image), "seed": 1},
    }
    write_jsonl(reproduced / "prompts.jsonl", [{"id": name, **prompt} for name, prompt in prompts.items()])
    sh(reproduced, "bind-an-audio", "generate", "--prompts", "prompts.jsonl", "--out", "clips", "--steps", "2")
    clips = {path.stem: soundfile.read(path) for path in (reproduced / "clips").glob("*.flac")}
    assert clips.keys() == prompts.keys()
    assert {(len(samples), rate) for samples, rate in clips.values()} == {(20_480, 16_000)}
    assert len({samples.tobytes() for samples, _ in clips.values()}) == len(prompts)
    (reproduced / "prompts.jsonl").unlink()
    shutil.rmtree(reproduced / "clips")


def test_the_python_of_readme_and_cards_makes_a_clip_and_loads_the_data(reproduced: Path, tmp_path: Path):
    sh(reproduced, "bind-an-audio", "cards")
    pages = ("README.md", "docs/cards/model.md", "docs/cards/dataset.md")
    code = [block for page in pages for block in python_blocks(page, reproduced)]
    assert len(code) == 3
    counted = "print(*map(len, (clips, images, pairs)))"
    said = sh(reproduced, "python", "-c", "\n".join([*code, counted]), HF_DATASETS_CACHE=str(tmp_path))
    clips = [
        len((reproduced / f"data/{name}/metadata.jsonl").read_text().splitlines()) for name in ("corpus", "images")
    ]
    assert " ".join(map(str, [*clips, *clips[1:]])) in said.splitlines()
    waveform, rate = soundfile.read(reproduced / "clip.wav")
    assert rate == 16_000
    assert len(waveform) == 20_480
    (reproduced / "clip.wav").unlink()
    shutil.rmtree(reproduced / "docs/cards")


def test_experiment_with_a_changed_param_runs_what_depends_on_it_and_compares(reproduced: Path, tmp_path: Path):
    first = sh(reproduced, "git", "rev-parse", "HEAD").strip()
    output = sh(reproduced, "dvc", "exp", "run", "--name", "longer-b", "--set-param", "train_b.epochs=3")
    assert stages_run(output) == ["train_b", "sample_b", "evaluate"]

    shown = json.loads(sh(reproduced, "dvc", "exp", "show", "--json"))
    text = json.dumps(shown)
    assert "longer-b" in text
    metrics = json.loads(sh(reproduced, "dvc", "metrics", "diff", "--json"))
    changed = metrics["metrics/train_b.json"]
    assert changed["updates"]["new"] * 2 == changed["updates"]["old"] * 3
    assert "metrics/train_a.json" not in metrics
    params = json.loads(sh(reproduced, "dvc", "params", "diff", "--json"))
    assert params["params.yaml"] == {"train_b.epochs": {"old": 2, "new": 3, "diff": 1}}
    plots = sh(reproduced, "dvc", "plots", "diff", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert "index.html" in plots
    assert "validation_diffusion_loss" in page
    assert "workspace" in page

    sh(reproduced, "git", "checkout", "--", ".")
    sh(reproduced, "dvc", "checkout")
    assert stages_run(sh(reproduced, "dvc", "repro")) == []
    sh(reproduced, "dvc", "exp", "apply", "longer-b")
    sh(reproduced, "git", "commit", "--all", "--quiet", "--message", "Longer B")
    second = sh(reproduced, "git", "rev-parse", "HEAD").strip()
    assert stages_run(sh(reproduced, "dvc", "repro")) == []

    clone = tmp_path / "without-cache"
    sh(tmp_path, "git", "clone", "--quiet", str(reproduced), str(clone))
    there = json.loads(sh(clone, "dvc", "metrics", "diff", first, second, "--json"))
    assert there["metrics/train_b.json"]["updates"] == changed["updates"]
    assert json.loads(sh(clone, "dvc", "params", "diff", first, second, "--json")) == params
    sh(clone, "dvc", "plots", "diff", first, second, "--out", str(tmp_path / "plots-without-cache"))
    assert "validation_diffusion_loss" in (tmp_path / "plots-without-cache/index.html").read_text()

    sh(reproduced, "git", "checkout", "--quiet", first)
    sh(reproduced, "dvc", "checkout")
    assert stages_run(sh(reproduced, "dvc", "repro")) == []
    sh(reproduced, "git", "checkout", "--quiet", "-")
    sh(reproduced, "dvc", "checkout")


def test_mlflow_shows_both_runs_and_sync_logs_each_revision_once(reproduced: Path):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    everything = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(everything, "tags.stage = 'train_b'")
    by_experiment = {run.data.tags["experiment"]: run for run in runs}
    assert {"workspace", "longer-b"} <= set(by_experiment)
    longer = by_experiment["longer-b"]
    assert longer.data.params["train_b.epochs"] == "3"
    history = client.get_metric_history(longer.info.run_id, "train_b/validation_diffusion_loss")
    assert [point.step for point in history] == [1, 2, 3]
    hashes = json.loads(Path(client.download_artifacts(longer.info.run_id, "dvc.json")).read_text())
    assert "models/experiment_b" in hashes["outputs"]

    sh(reproduced, "bind-an-audio", "sync", "--all")
    everything = [experiment.experiment_id for experiment in client.search_experiments()]
    before = len(client.search_runs(everything, max_results=1000))
    # What the docs ask: which B was the best, on which data.
    (asked,) = python_blocks("docs/comparing_runs.md")
    (corpus,) = yaml.safe_load((reproduced / "dvc.lock").read_text())["stages"]["prepare"]["outs"]
    kept = [sh(reproduced, "git", "show", f"{revision}:metrics/evaluation.json") for revision in ("HEAD", "HEAD~1")]
    best = max(json.loads(text)["experiment_b"]["clap_score"] for text in kept)
    said = sh(reproduced, "python", "-c", asked)
    assert f"('clap_score', {best}, 'data/corpus', '{corpus['md5']}')" in said
    sh(reproduced, "bind-an-audio", "sync", "--all")
    assert len(client.search_runs(everything, max_results=1000)) == before
