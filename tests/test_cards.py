"""Model and dataset card of a run, and that the `datasets` library loads what the pipeline wrote."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, ModelCard

from stages import decompose, images, prepare, quality
from stages.commands import main as commands
from stages.evaluation.systems import METRICS
from stages.formats.files import read_json, read_jsonl, write_json, write_jsonl
from tests.readme_commands import python_blocks
from tests.scratch_clone import ROOT, change_params


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the pipeline's first four stages write of a few clips, some of trains: a word that splits are named by."""
    root = tmp_path_factory.mktemp("run")
    few = {"clips": 40, "foundation_clips": 0, "compositions": 0.0, "sources": ["bell", "dog", "drum", "train"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("BIND_AN_AUDIO_TRACKING", "off")
        change_params(source=ROOT / "presets/smoke.yaml", prepare=few)
        for stage in (prepare, decompose, images, quality):
            stage.main()
    for name in ("evaluation", "comparison", "backbone"):
        shutil.copy(ROOT / f"metrics/{name}.json", root / "metrics")
    return root


@pytest.fixture
def run(written, tmp_path, monkeypatch):
    """A copy of that run as the working folder."""
    shutil.copytree(written, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


def test_the_hub_reads_as_results_what_the_run_measured(run):
    commands.main(["cards"])
    card = ModelCard.load("docs/cards/model.md")
    found = read_json("metrics/evaluation.json")
    told = {(one.metric_name, one.metric_value) for one in card.data.eval_results}
    for system, name in (("experiment_a", "Experiment A"), ("experiment_b", "Experiment B")):
        for metric, value in found[system].items():
            assert (f"{METRICS[metric].name}, {name}", value) in told
    assert len(told) == len(found["experiment_a"]) + len(found["experiment_b"])
    assert f"| Experiment B | {found['experiment_b']['fad']:.2f} |" in card.text
    assert "`models/backbone` | trained" in card.text
    accepted = Counter(row["split"] for row in read_jsonl("data/quality/accepted.jsonl"))
    for split, count in accepted.items():
        assert f"{count} {split}" in card.text
    for heading in ("Intended use", "Training data", "Limits", "Licences"):
        assert f"## {heading}" in card.text
    assert "It knows bell, dog, drum, train and nothing else" in card.text
    assert card.data.license == "apache-2.0"


def test_the_cards_follow_the_run(run):
    write_json("metrics/comparison.json", {"conclusive": False, "doubts": ["too <few> captions"]})
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("backend: pictograms", "backend: flux"))
    commands.main(["cards", "--out", "here"])
    assert "Nothing about A against B follows: too <few> captions." in Path("here/model.md").read_text()
    card = DatasetCard.load("here/dataset.md")
    assert "painted by" in card.text
    assert "OpenMoji" not in card.text
    assert card.data.license == "other"


def test_the_dataset_card_counts_what_is_there(run):
    commands.main(["cards"])
    card = DatasetCard.load("docs/cards/dataset.md")
    counts = Counter(row["split"] for row in read_jsonl("data/corpus/metadata.jsonl"))
    accepted = Counter(row["split"] for row in read_jsonl("data/quality/accepted.jsonl"))
    for split, count in counts.items():
        assert f"| {split} | {count} | {accepted[split]} |" in card.text
    assert card.data.size_categories == "n<1K"
    assert read_jsonl("data/quality/accepted.jsonl")[0]["caption"] in card.text


def test_a_caption_with_the_signs_of_a_table_stays_in_its_cell(run):
    first, *others = read_jsonl("data/quality/accepted.jsonl")
    write_jsonl("data/quality/accepted.jsonl", [first | {"caption": "a <b>bell</b> | rings\n| twice"}, *others])
    commands.main(["cards"])
    assert (
        r"| `caption` | a \<b\>bell\</b\> \| rings \| twice |" in Path("docs/cards/dataset.md").read_text().splitlines()
    )


@pytest.mark.parametrize(("kind", "folder"), [("audiofolder", "corpus"), ("imagefolder", "images")])
def test_the_datasets_library_loads_what_the_pipeline_wrote(run, kind, folder):
    import datasets

    loaded = datasets.load_dataset(kind, data_dir=f"data/{folder}", cache_dir="cache")
    assert list(loaded) == ["train"], "a file's name says nothing of its split"
    column = kind.removesuffix("folder")
    feature = {"audio": datasets.Audio, "image": datasets.Image}[column](decode=False)
    rows = {row["id"]: row for row in loaded["train"].cast_column(column, feature)}
    written = read_jsonl(f"data/{folder}/metadata.jsonl")
    assert len(written) == 40
    assert sorted(rows) == [row["id"] for row in written]
    for row in written:
        found = rows[row["id"]]
        assert Path(found[column]["path"]).name == row["file_name"]
        for key in set(row) - {"file_name", "id", "attributes"}:
            assert found[key] == row[key]
        told = {name: value for name, value in (found.get("attributes") or {}).items() if value is not None}
        assert told == row.get("attributes", {}), json.dumps(row)


def test_what_lies_in_shards_is_loaded_as_the_card_says(run, monkeypatch):
    import datasets

    change_params(prepare={"shard_size": 15})
    prepare.main()
    commands.main(["cards"])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", Path("cache").resolve())
    (code,) = python_blocks("docs/cards/dataset.md", run)
    loaded: dict[str, Any] = {}
    exec(code, loaded)
    assert sorted(loaded["clips"]["__key__"]) == [row["id"] for row in read_jsonl("data/corpus/metadata.jsonl")]
    assert len(loaded["pairs"]) == len(read_jsonl("data/quality/accepted.jsonl"))
