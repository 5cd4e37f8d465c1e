"""The study: arms are params, figures have intervals over captions and seeds, claims are decided, the page says so."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from stages.commands import study as command
from stages.evaluation.intervals import Estimate
from stages.formats.files import read_json, write_json
from stages.study.arms import Arm, arm_params, load_arm, load_arms
from stages.study.claims import CHECKS, CLAIMS, Claim, decide
from stages.study.estimates import Study, over_seeds
from stages.study.page import COLUMNS, shown, study_page
from tests.shell import sh

ROOT = Path(__file__).parent.parent
CAPTIONS = 40
ARMS = yaml.safe_load((ROOT / "studies/dvc.yaml").read_text(encoding="utf-8"))["stages"]["arm"]["matrix"]["arm"]
CORPORA_TELL = {"sources alone, as ESC-10": {"attribute_adherence", "heard"}, "neither": {*COLUMNS} - {"clap_score"}}
A_TRAINING = {"epochs_to_5_percent": 9, "variation_first": 0.02, "variation_last": 0.01, "train_valid_gap": 0.3}
B_TRAINING = {"epochs_to_5_percent": 5, "variation_first": 0.2, "variation_last": 0.002, "train_valid_gap": 0.4}


def width(estimate):
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.high - estimate.low


def clips(random, level):
    """Scores of captions around `level`."""
    scores = {metric: np.clip(level + 0.1 * random.standard_normal(CAPTIONS), 0, 1).tolist() for metric in COLUMNS}
    return {"ids": [f"clip-{number:03}" for number in range(CAPTIONS)], **scores}


def results(levels, seeds=(1, 2, 3)):
    """What studies/results/ holds: arms by their level, seeds a little apart; swapped clips lie at the floor."""
    found: dict[str, dict[int, Any]] = {}
    for arm, level in levels.items():
        found[arm] = {}
        for seed in seeds:
            random = np.random.default_rng([seed, len(arm)])
            training = {"cka_before": 0.4, "cka_after": 0.7 + 0.01 * seed}
            training |= A_TRAINING if arm[0] == "a" else B_TRAINING
            training["variation_last"] += 0.0001 * seed
            found[arm][seed] = {
                "arm": arm,
                "seed": seed,
                "instrument": "today",
                "changes": {},
                "training": training,
                "clips": {"own": clips(random, level + 0.01 * (seed - 2)), "other_both": clips(random, 0.2)},
            }
    return found


@pytest.fixture(scope="module")
def references():
    random = np.random.default_rng(0)
    levels = {"real": 0.95, "codec": 0.9, "reference": 0.8, "floor": 0.2}
    return {
        "instrument": "today",
        "thresholds": {},
        "clips": {name: clips(random, level) for name, level in levels.items()},
    }


@pytest.fixture(scope="module")
def study(references):
    return Study(results({"a-mean": 0.7, "b-mean": 0.5, "a-weighted": 0.7}), references, draws=400)


def test_dvc_yaml_runs_all_arms_in_their_order(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert list(load_arms()) == ARMS


@pytest.mark.parametrize("name", ARMS)
def test_an_arms_changes_are_taken_by_the_params(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    arm = load_arm(name)
    params = arm_params(arm, 4)
    assert (params.train_a.seed, params.train_b.seed, params.sample.seed) == (4, 4, 4)
    assert params.sample.clips_per_caption == 1
    plain = arm_params(Arm(experiment=arm.experiment, changes={}, unet_updates=False, swaps=[]), 4)
    assert (params == plain) == (not arm.changes)


def test_a_wrong_arm_gets_one_line(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ValueError, match=r"a-meen: no such arm; studies/arms.yaml has a-mean, b-mean, "):
        load_arm("a-meen")
    arm = load_arm("b-mean")
    with pytest.raises(ValueError, match=r"train_b.widht: unknown key; did you mean width\?; mend the arm's changes"):
        arm_params(arm.model_copy(update={"changes": {"train_b.widht": 3}}), 1)
    with pytest.raises(ValueError, match=r"train_b.fusion: .*mend the arm's changes"):
        arm_params(arm.model_copy(update={"changes": {"train_b.fusion": "sum"}}), 1)


def test_a_mean_has_an_interval_over_captions_and_seeds(references):
    one = Study(results({"a-mean": 0.7}, seeds=[2]), references).mean("a-mean", "fit")
    assert one is not None
    assert one.value == pytest.approx(0.7, abs=0.04)
    assert width(one) == pytest.approx(2 * 1.96 * 0.1 / CAPTIONS**0.5, rel=0.3)
    apart = results({"a-mean": 0.5})
    for seed, level in ((1, 0.2), (2, 0.5), (3, 0.8)):
        apart["a-mean"][seed]["clips"]["own"]["fit"] = [level] * CAPTIONS
    wide = Study(apart, references).mean("a-mean", "fit")
    assert wide is not None
    assert wide.value == pytest.approx(0.5)
    # Three numbers 0.3 apart: Student's interval is 2 x 4.30 x 0.3 / sqrt(3) wide.
    assert width(wide) == pytest.approx(1.5, abs=0.2)


def test_arms_are_compared_caption_by_caption_and_seed_by_seed(references):
    found = results({"a-mean": 0.6, "b-mean": 0.6})
    random = np.random.default_rng(5)
    for seed in (1, 2, 3):
        own = random.random(CAPTIONS)
        found["a-mean"][seed]["clips"]["own"]["fit"] = own.tolist()
        found["b-mean"][seed]["clips"]["own"]["fit"] = (own - 0.01).tolist()
    difference = Study(found, references).difference("a-mean", "b-mean", "fit")
    assert difference == pytest.approx(Estimate(0.01, 0.01, 0.01), abs=1e-6)


def test_what_a_caption_does_not_tell_is_left_out(references):
    found = results({"a-mean": 0.7})
    for seed in (1, 2, 3):
        found["a-mean"][seed]["clips"]["own"]["heard"] = [1.0, *[None] * 20, *[0.0] * (CAPTIONS - 21)]
    mean = Study(found, references).mean("a-mean", "heard")
    assert mean is not None
    assert mean.value == pytest.approx(1 / 20)


def test_the_share_of_the_way_from_floor_to_reference(study):
    closed = study.closed("a-mean", "fit")
    assert closed.value == pytest.approx((0.7 - 0.2) / (0.8 - 0.2), abs=0.07)
    assert 0 < width(closed) < 0.3
    assert study.closed("b_best-mean", "fit") is None


def test_small_figures_are_shown_with_more_digits():
    assert shown(Estimate(0.64, 0.55, 0.721)) == "0.64 (0.55 to 0.72)"
    assert shown(Estimate(0.0057, 0.0041, 0.0073)) == "0.0057 (0.0041 to 0.0073)"
    assert shown(Estimate(12.0, None, None)) == "12.00"
    assert shown(Estimate(0.0, 0.0, 0.0)) == "0.00 (0.00 to 0.00)"
    assert shown(None) == "–"


def test_over_seeds_is_students_interval():
    assert over_seeds([]) is None
    assert over_seeds([3.0]) == Estimate(3.0, None, None)
    assert over_seeds([1.0, 2.0, 3.0]) == pytest.approx(Estimate(2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-3)


def test_a_claim_is_decided_by_where_its_interval_lies(study):
    def verdict(estimate, side="above"):
        return decide(Claim("", "", lambda _: estimate, side, 0.5, ()), study).verdict

    assert verdict(Estimate(0.7, 0.6, 0.8)) == "supported"
    assert verdict(Estimate(0.4, 0.3, 0.45)) == "contradicted"
    assert verdict(Estimate(0.6, 0.4, 0.8)) == "not decided"
    assert verdict(Estimate(0.7, 0.6, 0.8), "below") == "contradicted"
    assert verdict(Estimate(0.4, 0.3, 0.45), "below") == "supported"
    assert verdict(Estimate(0.9, None, None)) == "not decided"
    assert verdict(None) == "not decided"


def test_the_study_decides_what_it_can_and_leaves_the_rest_open(study):
    verdicts = {claim.words: decide(claim, study).verdict for claim in (*CLAIMS, *CHECKS)}
    assert len(verdicts) == len(CLAIMS) + len(CHECKS)
    assert verdicts["B converges in 5 to 6 epochs"] == "supported"
    assert verdicts["B is better than A"] == "contradicted"
    assert verdicts["A trains unstably, B stably"] == "supported"
    assert verdicts["A's validation gap is larger than B's"] == "contradicted"
    assert verdicts["A's final performance is poor"] == "contradicted"
    assert verdicts["A: averaging beats weighted fusion"] == "not decided"
    assert verdicts["A: averaging beats attention"] == "not decided"
    assert verdicts["A: with text and image of another caption nothing is left above the floor"] != "contradicted"


def test_the_page_holds_every_arm_claim_and_word_of_the_description(study):
    page = study_page(study, "A note.", "picture.png")
    for words in ("| a-weighted | 3 |", "Rapid convergence", "**contradicted**", "a-mean, other both", "| floor |"):
        assert words in page
    for claim in (*CLAIMS, *CHECKS):
        assert claim.words in page
    widths = {line.count("|") for line in page.split("## Arms")[1].split("##")[0].splitlines() if line.startswith("|")}
    assert len(widths) == 1


@pytest.fixture
def there(tmp_path, monkeypatch, references):
    """A repository with references and results of two arms in studies/results/, as the working folder."""
    (tmp_path / "studies/results").mkdir(parents=True)
    shutil.copy(ROOT / "studies/arms.yaml", tmp_path / "studies/arms.yaml")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "off")
    write_json("studies/results/references.json", references)
    for arm, seeds in results({"b-mean": 0.5, "a-mean": 0.7}).items():
        for seed, result in seeds.items():
            write_json(f"studies/results/{arm}-{seed}.json", result)
    return tmp_path


@pytest.fixture
def store(there, monkeypatch, empty_store):
    """MLflow's, of a git repository in `there`."""
    shutil.copy(empty_store, there / "mlflow.db")
    monkeypatch.setenv("BIND_AN_AUDIO_TRACKING", "on")
    monkeypatch.setenv("DVC_ROOT", str(there))
    sh(there, "git", "init", "-q")
    sh(there, "git", "commit", "-qm", "Study", "--allow-empty")
    return MlflowClient(f"sqlite:///{there / 'mlflow.db'}")


def test_the_command_writes_page_and_numbers_of_what_is_there(there, capsys):
    other = there / "studies/results/a-mean-3.json"
    other.write_text(other.read_text(encoding="utf-8").replace("today", "yesterday"), encoding="utf-8")
    command.main(argparse.Namespace(page=True, name="study"))
    assert "left out, of other code, params or networks: a-mean-3.json" in capsys.readouterr().out
    numbers = json.loads((there / "metrics/study.json").read_text(encoding="utf-8"))
    assert list(numbers["arms"]) == ["a-mean", "b-mean"]
    assert numbers["arms"]["a-mean"]["seeds"] == 2
    assert {one["verdict"] for one in numbers["claims"]} == {"supported", "contradicted", "not decided"}
    assert "| b-mean | 3 |" in (there / "docs/study.md").read_text(encoding="utf-8")
    for path in there.glob("studies/results/*-mean-*.json"):
        path.unlink()
    with pytest.raises(ValueError, match="studies/results: no results"):
        command.main(argparse.Namespace(page=True, name="study"))


@pytest.mark.parametrize("untold", CORPORA_TELL.values(), ids=CORPORA_TELL)
def test_a_corpus_without_attributes_or_labels_has_a_page_and_is_logged(there, untold, store):
    """It was a KeyError in the page, and in MLflow."""
    for path in there.glob("studies/results/*.json"):
        found = read_json(path)
        for clips in found["clips"].values():
            # As `caption_scores` leaves them: metrics of single clips are missing, their means hold nothing.
            for metric in untold:
                clips[metric] = [None] * CAPTIONS
            for metric in untold & {"attribute_adherence", "source_accuracy"}:
                del clips[metric]
        write_json(path, found)
    command.main(argparse.Namespace(page=True, name="study"))
    verdicts = {one["claim"]: one["verdict"] for one in read_json("metrics/study.json")["claims"]}
    assert verdicts["B is better than A"] == ("not decided" if "fit" in untold else "contradicted")
    arms = (there / "docs/study.md").read_text(encoding="utf-8").split("## Arms")[1].split("##")[0].splitlines()
    assert len({line.count("|") for line in arms if line.startswith("|")}) == 1
    (row,) = (line.split(" | ") for line in arms if line.startswith("| a-mean | 3 "))
    assert [cell for name, cell in zip(COLUMNS, row[2:], strict=False) if name in untold] == ["–"] * len(untold)


def test_a_study_has_one_parent_with_a_child_for_each_training(there, store):
    """Each call made a new parent."""

    def logged():
        command.main(argparse.Namespace(page=True, name="study"))
        experiment = store.get_experiment_by_name(command.STUDIES_EXPERIMENT).experiment_id
        (parent,) = store.search_runs([experiment], "tags.kind = 'study'")
        arms = store.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
        return parent, {run.info.run_name: run for run in arms}

    parent, before = logged()
    assert set(before) == {f"{arm} {seed}" for arm in ("a-mean", "b-mean") for seed in (1, 2, 3)}
    again = read_json("studies/results/a-mean-1.json")
    again["training"]["train_valid_gap"] = 9.0
    write_json("studies/results/a-mean-1.json", again)
    same, after = logged()
    assert same.info.run_id == parent.info.run_id
    assert after.keys() == before.keys()
    assert after["a-mean 1"].data.metrics["train_valid_gap"] == 9.0
    assert after["a-mean 2"].info.run_id == before["a-mean 2"].info.run_id
