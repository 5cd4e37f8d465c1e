"""Whether a run can tell A from B, as `metrics/comparison.json`, the listening page and `show` say it."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.commands.main import main
from stages.evaluation.comparison import ONE_SEED, doubts
from stages.evaluation.intervals import Estimate
from stages.evaluation.systems import METRICS, SYSTEMS, sample_folders, system_name
from stages.formats.files import write_json

ROOT = Path(__file__).parent.parent
TOWERS = {
    "heard_probe_ratio": 1.03, "heard_probe_text_part": 0.92, "heard_probe_majority_answer": 0.4,
    "seen_probe_ratio": 0.92, "seen_probe_image": 0.84, "seen_probe_majority_answer": 0.5,
}  # fmt: skip
HEADLINES = [name for name, metric in METRICS.items() if metric.headline]
shares = st.floats(0.0, 1.0)


def summaries(**changes):
    """Metrics of a run in which real clips and the reference lie well above the floor; `changes` are by system."""
    heights = {"real": 0.9, "codec": 0.8, "reference": 0.6, "experiment_a": 0.4, "experiment_b": 0.4, "floor": 0.1}
    run = {
        system: {
            name: Estimate(1 - height, 0.95 - height, 1.05 - height)
            if METRICS[name].better == "lower"
            else Estimate(height, height - 0.05, height + 0.05)
            for name in METRICS
        }
        for system, height in heights.items()
    }
    for system, metrics in changes.items():
        run[system] |= metrics
    return run


def test_a_run_whose_towers_hear_and_whose_reference_is_steered_is_conclusive():
    assert doubts(summaries(), TOWERS, 80) == []


def test_headlines_are_what_clips_of_no_caption_cannot_score():
    assert HEADLINES == ["clap_score", "source_accuracy", "attribute_adherence", "seen", "heard"]


@pytest.mark.parametrize("metric", HEADLINES)
def test_a_reference_on_the_floor_is_not(metric):
    """It was: only the probe of the text part was looked at."""
    (reason,) = doubts(summaries(reference={metric: Estimate(0.17, 0.12, 0.22)}), TOWERS, 80)
    assert METRICS[metric].name in reason
    assert "CLAP reference at 0.17 (0.12 to 0.22)" in reason
    assert "Unconditioned at 0.10 (0.05 to 0.15)" in reason


@given(shares, shares, st.floats(0, 0.3), st.floats(0, 0.3))
def test_what_decides_is_whether_the_intervals_are_apart(reference, floor, one, other):
    run = summaries(
        reference={"clap_score": Estimate(reference, reference - one, reference + one)},
        floor={"clap_score": Estimate(floor, floor - other, floor + other)},
        real={"clap_score": Estimate(2.0, 1.9, 2.1)},
    )
    assert (doubts(run, TOWERS, 80) == []) == (reference - one > floor + other)


def test_distances_do_not_ask_whether_a_clip_fits_its_caption():
    assert doubts(summaries(reference={"fad": Estimate(9.0, 8.0, 10.0)}), TOWERS, 80) == []


def test_a_judge_that_cannot_tell_real_clips_from_the_floor_is_named_before_the_reference():
    low = Estimate(0.1, 0.05, 0.15)
    (reason,) = doubts(summaries(real={"clap_score": low}, reference={"clap_score": low}), TOWERS, 80)
    assert "Real audio" in reason


@pytest.mark.parametrize(("side", "own", "words"), [("heard", "text_part", "text part"), ("seen", "image", "image")])
def test_towers_that_do_not_carry_the_truth_are_named(side, own, words):
    (reason,) = doubts(summaries(), TOWERS | {f"{side}_probe_ratio": 0.79}, 80)
    assert f"the {words} tells 79% of the {side} attributes" in reason
    # CLAP knows as little: 80 % of nothing is nothing.
    (reason,) = doubts(summaries(), TOWERS | {f"{side}_probe_{own}": 0.3}, 80)
    assert f"{side} attributes no better than guessing" in reason


def test_towers_without_probes_leave_the_verdict_to_the_clips():
    assert doubts(summaries(), {"image_to_audio_recall_at_1": 0.1}, 80) == []
    assert doubts(summaries(reference={"clap_score": Estimate(0.1, 0.0, 0.2)}), {}, 80) != []


def test_a_corpus_without_sources_or_attributes_is_judged_by_what_it_has():
    run = {system: {"clap_score": metrics["clap_score"]} for system, metrics in summaries().items()}
    assert doubts(run, {}, 80) == []


@pytest.mark.parametrize("captions", [1, 2, 19])
def test_a_run_of_few_captions_says_so(captions):
    (reason,) = doubts(summaries(), TOWERS, captions)
    assert reason.startswith(f"too small: {captions} test captions")
    assert doubts(summaries(), TOWERS, 20) == []


def test_a_run_in_which_nothing_is_recognised_says_so():
    nothing = {"source_accuracy": Estimate(0.0, 0.0, 0.0)}
    run = summaries(**{system: nothing for system in SYSTEMS if system != "real"})
    reasons = doubts(run, TOWERS, 80)
    assert any(reason.startswith("too small: no generated clip is heard as its source") for reason in reasons)


def test_missing_intervals_are_never_conclusive():
    (reason,) = doubts(summaries(floor={"clap_score": Estimate(0.1, None, None)}), TOWERS, 80)
    assert "0.10 (no interval)" in reason


def test_show_prints_the_verdict_and_its_reasons(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_json("metrics/evaluation.json", {"real": {"fad": 1.0}})
    write_json("metrics/comparison.json", {"conclusive": False, "doubts": ["too small: 8 test captions", "and more"]})
    main(["show"])
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("Not conclusive: nothing about A against B follows from this run.")
    assert lines[start + 1 : start + 3] == ["- too small: 8 test captions", "- and more"]
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    numbers = {"captions": 100, "takes": 3, "training_clips": 640, "embedding_dimensions": 32}
    write_json("metrics/comparison.json", {"conclusive": True, "doubts": [], "limits": [ONE_SEED], **numbers})
    main(["show"])
    lines = capsys.readouterr().out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("Conclusive:"))
    assert lines[start + 1] == f"- {ONE_SEED}"
    assert lines[start - 1] == (
        "100 test captions, 3 takes each (1 without guidance, 1 of the codec); 2.56 s at 16 kHz; 12 steps of "
        "dpm_solver, guidance 2 above timestep 500. FAD and KAD are to 640 real training clips, on the judge's "
        "embeddings of 32 dimensions. Training seeds: A 1, B 1."
    )


def test_the_list_of_systems_and_metrics_is_what_dvc_samples_and_draws():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    groups = {str(folder.parent) for folder in sample_folders().values()}
    assert groups == {path for path in stages["evaluate"]["deps"] if path.startswith("data/samples/")}
    assert list(json.loads((ROOT / ".dvc/plots/intervals.json").read_text())["facet"]["row"]["sort"]) == list(METRICS)
    title = next(
        plot["metrics/systems.tsv"]["title"] for plot in stages["evaluate"]["plots"] if "metrics/systems.tsv" in plot
    )
    lower = [name for name, metric in METRICS.items() if metric.better == "lower"]
    assert f"{', '.join(lower)}: lower is better, others: higher is better" in title
    assert system_name("experiment_a_guidance_1") == "Experiment A, guidance 1"
