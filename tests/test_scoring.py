"""Scores of systems: what the judges see, and the comparison of A with B."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
import torch

from stages.evaluation.comparison import compare
from stages.evaluation.details import confusion_rows, detail_rows
from stages.evaluation.scoring import CLAP, ClipScores, Heard, Scorers, SystemClips, hear, score_clips, summarize
from stages.judging.clap_scorer import TrainedScorer
from stages.judging.networks import (
    SourceClassifier,
    augmented,
    build_scorer_clap,
    embed_captions,
    embed_clips,
    judge_mels,
    source_numbers,
    source_recall,
)

CURVES = {
    "experiment_a": [
        {"updates": 10, "teraflops": 100.0, "validation_diffusion_loss": 1.0},
        {"updates": 20, "teraflops": 200.0, "validation_diffusion_loss": 0.5},
    ],
    "experiment_b": [{"updates": 15, "teraflops": 15.0, "validation_diffusion_loss": 0.8}],
}


def in_clap(embeddings: torch.Tensor, logits: torch.Tensor | None = None) -> Heard:
    return Heard({CLAP: embeddings}, embeddings, logits)


def scores(values: list[float], held_out: list[bool], adherence: list[float] | None = None) -> ClipScores:
    rows = [
        {"id": f"clip-{place // 2}", "held_out_pair": one, "sources": ["bell", "rain"] if one else ["bell"]}
        for place, one in enumerate(held_out)
    ]
    generator = torch.Generator().manual_seed(0)
    return ClipScores(
        rows=rows,
        takes=[place % 2 for place in range(len(values))],
        heard=in_clap(torch.randn(len(values), 3, generator=generator)),
        values={"clap_score": values, **({"attribute_adherence": adherence} if adherence else {})},
        obeyed=[{"pace": value > 0.5} for value in values],
    )


def test_source_recall_counts_each_source_of_a_composition():
    logits = torch.tensor([[5.0, 1.0, 0.0], [5.0, 4.0, 0.0], [5.0, 0.0, 4.0], [0.0, 1.0, 2.0]])
    assert source_recall(logits, [[0], [0, 1], [0, 1], [0]]) == [1.0, 1.0, 0.5, 0.0]


def test_a_source_that_no_training_clip_had_counts_neither_way():
    rows: list[dict[str, Any]] = [{"sources": ["bell"]}, {"sources": ["clock"]}, {"sources": ["rain", "clock"]}]
    truth = source_numbers(rows, ["bell", "rain"])
    assert truth == [[0], [], []]
    recalls = source_recall(torch.tensor([[1.0, 0.0]] * 3), truth)
    assert recalls[0] == 1.0
    assert all(math.isnan(recall) for recall in recalls[1:])


class OneDirection(TrainedScorer):
    """A CLAP for which every caption and every clip is the same."""

    def __init__(self):
        pass

    def embed_texts(self, captions):
        return torch.ones(len(captions), 1)

    def embed_audio(self, waveforms):
        return torch.ones(len(waveforms), 1)


class SecondSource(SourceClassifier):
    """A classifier that hears the second source everywhere."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        torch.nn.init.zeros_(self.classify.weight)
        self.classify.bias.data = torch.tensor([0.0, 1.0])


def test_unknown_sources_alone_leave_no_source_accuracy():
    scorers = Scorers(OneDirection(), SecondSource([4], 4, 2).eval(), ["bell", "rain"], {})

    def scored(*sources):
        rows: list[dict[str, Any]] = [
            {"id": source, "caption": source, "sources": [source], "attributes": {}} for source in sources
        ]
        return score_clips(SystemClips(rows, [0] * len(rows), torch.randn(len(rows), 20_480)), scorers).values

    assert scored("clock", "dog") == {"clap_score": [1.0, 1.0]}
    missed, found, unknown = scored("bell", "rain", "dog")["source_accuracy"]
    assert (missed, found) == (0.0, 1.0)
    assert math.isnan(unknown)


def test_a_judge_that_knows_no_numbers_is_named():
    class Broken(OneDirection):
        def embed_audio(self, waveforms):
            return torch.full((len(waveforms), 1), math.nan)

    rows: list[dict[str, Any]] = [{"id": "one", "caption": "a", "sources": [], "attributes": {}}]
    with pytest.raises(ValueError, match="judge's embeddings"):
        score_clips(SystemClips(rows, [0], torch.zeros(1, 20_480)), Scorers(Broken(), None, [], {}))


def test_judge_mels_have_256_frames_whatever_the_length():
    for samples in (20_480, 40_960, 159_744):
        mels = judge_mels(torch.randn(2, samples) / 10)
        assert mels.shape == (2, 256, 64)
    quiet, loud = judge_mels(torch.zeros(1, 40_960)), judge_mels(torch.randn(1, 40_960))
    assert quiet.max() == pytest.approx(-3, abs=1e-4)
    assert loud.mean() > quiet.mean() + 2


def test_judges_embed_and_classify():
    torch.manual_seed(0)
    mels = judge_mels(torch.randn(2, 40_960) / 10)
    classifier = SourceClassifier([4, 8], 6, 5).eval()
    assert classifier.embedding(mels).shape == (2, 6)
    assert classifier(mels).shape == (2, 5)
    clap = build_scorer_clap(16, 50).eval()
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :4], tokens[1, :6] = 7, 9
    with torch.no_grad():
        text, audio = embed_captions(clap, tokens), embed_clips(clap, mels)
    assert text.shape == audio.shape == (2, 16)
    assert torch.allclose(text.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(audio.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.equal(augmented(mels), mels)


def test_judges_train_on_sounds_that_a_codec_has_blurred():
    torch.manual_seed(0)
    mels = torch.zeros(64, 256, 64)
    mels[:, ::2] = 2.0
    contrast = (augmented(mels)[:, 1:] - augmented(mels)[:, :-1]).abs().mean(dim=(1, 2))
    assert contrast.max() > 1.5, "some stay sharp"
    assert contrast.min() < 0.7, "some lose their frames"


def test_summary_stands_on_equal_numbers_of_clips_per_take():
    values = [0.1 * place for place in range(12)]
    real = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    summary, missing = summarize(scores(values, [False] * 12), real, draws=50, seed=0)
    assert missing == []
    assert set(summary) == {"fad", "kad", "clap_score"}
    assert all(None not in estimate for estimate in summary.values())
    value, low, high = cast("tuple[float, float, float]", summary["clap_score"])
    assert value == pytest.approx(sum(values) / 12)
    assert low < value < high
    value, low, high = cast("tuple[float, float, float]", summary["fad"])
    assert low <= value <= high


def test_clips_without_truth_are_left_out_of_means():
    one = scores([0.2, 0.4, 0.6, 0.8], [False, False, True, True], [1.0, math.nan, 0.5, math.nan])
    details = {row["detail"]: row["value"] for row in detail_rows({"real": one})}
    assert details["held-out pairs clap_score"] == pytest.approx(0.7)
    assert details["held-out pairs attribute_adherence"] == 0.5
    assert details["attribute pace"] == 0.5
    unknown = scores([0.2, 0.4], [False, True], [1.0, math.nan])
    assert "held-out pairs attribute_adherence" not in {row["detail"] for row in detail_rows({"real": unknown})}
    real = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    many = scores([0.1, 0.9] * 4, [False] * 8, [1.0, math.nan] * 4)
    assert summarize(many, real, draws=20, seed=0)[0]["attribute_adherence"].value == 1.0


@pytest.mark.parametrize("captions", [1, 2])
def test_a_run_of_one_or_two_captions_has_values_without_intervals_and_says_why(captions):
    """Such a run ended after fourteen stages, with nothing written."""
    real = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    one = scores([0.1, 0.9] * captions, [False] * 2 * captions)
    summary, missing = summarize(one, real, draws=20, seed=0)
    assert summary["clap_score"] == (0.5, None, None)
    if captions == 1:
        assert summary.keys() == {"clap_score"}
        assert [line[:8] for line in missing] == ["no fad: ", "no kad: "]
        assert "at least 2" in missing[0]
    else:
        assert missing == []
        assert summary["fad"].value > 0
        assert summary["fad"][1:] == summary["kad"][1:] == (None, None)
    result = compare({"experiment_a": one, "experiment_b": one}, CURVES, draws=20, seed=0)
    assert result["b_minus_a_clap_score"] == 0
    assert result["b_minus_a_clap_score_low"] is None
    json.dumps(result, allow_nan=False)


def test_a_judge_for_which_all_clips_are_alike_leaves_out_the_distance_it_cannot_give():
    summary, missing = summarize(scores([0.1] * 12, [False] * 12), torch.ones(40, 3), draws=20, seed=0)
    assert summary.keys() == {"fad", "clap_score"}
    assert missing == ["no kad: half or more of the real clips have the same embedding; the judge tells nothing apart"]


def test_comparison_is_b_minus_a_on_the_same_clips_at_equal_updates_and_compute():
    held_out = [False] * 6 + [True] * 2
    first = scores([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.5, 0.5], held_out)
    second = scores([0.3, 0.4, 0.5, 0.3, 0.4, 0.5, 0.7, 0.7], held_out)
    result = compare({"experiment_a": first, "experiment_b": second}, CURVES, draws=50, seed=0)
    assert result["b_minus_a_clap_score"] == pytest.approx(0.2)
    assert 0 < result["b_minus_a_clap_score_low"] <= 0.2 <= result["b_minus_a_clap_score_high"]
    assert result["equal_updates"] == 15
    assert result["validation_diffusion_loss_experiment_a_at_equal_updates"] == 0.75
    assert result["validation_diffusion_loss_experiment_b_at_equal_updates"] == 0.8
    assert result["validation_diffusion_loss_experiment_a_at_equal_teraflops"] == 1.0
    assert not any(isinstance(value, dict) for value in result.values())
    details = {(row["system"], row["detail"]): row["value"] for row in detail_rows({"experiment_b": second})}
    assert details["experiment_b", "held-out pairs clap_score"] == pytest.approx(0.7)


def test_details_name_single_attributes_and_sources():
    one = scores([0.1, 0.9, 0.6, 0.7], [False, False, True, True])
    one.values["source_accuracy"] = [1.0, 0.0, 0.5, 0.5]
    details = {row["detail"]: row["value"] for row in detail_rows({"real": one})}
    assert details["attribute pace"] == 0.75
    assert details["source bell"] == 0.5
    assert details["source rain"] == 0.5
    assert details["held-out pairs clap_score"] == pytest.approx(0.65)


def test_confusions_are_of_clips_of_one_source_by_the_judges_highest_logit():
    rows = [{"sources": ["bell"]}, {"sources": ["bell", "rain"]}, {"sources": ["rain"]}]
    logits = torch.tensor([[0.0, 1.0]]).expand(3, 2)
    real = ClipScores(rows, [0, 0, 0], in_clap(torch.zeros(3, 2), logits), {}, [{}] * 3)
    expected = [{"actual": "bell", "predicted": "rain"}, {"actual": "rain", "predicted": "rain"}]
    assert confusion_rows(real, ["bell", "rain"]) == expected
    assert confusion_rows(ClipScores(rows, [0, 0, 0], in_clap(torch.zeros(3, 2)), {}, [{}] * 3), []) == []


def test_the_judges_hear_a_clip_once_as_the_classifier_would_alone():
    torch.manual_seed(0)
    classifier = SourceClassifier([4, 8], 6, 5).eval()
    clips = torch.randn(3, 20_480) / 10
    with torch.no_grad():
        heard = hear(clips, Scorers(OneDirection(), classifier, list("abcde"), {}))
        assert heard.logits is not None
        assert torch.equal(heard.logits, classifier(judge_mels(clips)))
    assert heard.main.shape == (3, 6)
    assert hear(clips, Scorers(OneDirection(), None, [], {})).main.shape == (3, 1)


def test_what_is_seen_and_what_is_heard_stand_apart():
    attributes = {"size": "small", "loudness": "loud"}
    rows: list[dict[str, Any]] = [
        {"id": "a", "caption": "a", "sources": ["bell"], "attributes": attributes},
        {"id": "b", "caption": "b", "sources": ["rain"], "attributes": {}},
    ]
    classifier = SecondSource([4], 4, 2).eval()
    scorers = Scorers(OneDirection(), classifier, ["bell", "rain"], {"size": -99.0, "loudness": -99.0})
    values = score_clips(SystemClips(rows, [0, 0], torch.randn(2, 20_480) / 10), scorers).values
    # The bell is heard as rain, but its size is right; the second caption names no attribute.
    assert values["source_accuracy"] == [0.0, 1.0]
    assert values["seen"] == [0.5, 1.0]
    assert values["heard"][0] == 1.0
    assert math.isnan(values["heard"][1])


@pytest.mark.parametrize("seconds", [1.28, 2.56, 4.096, 4.1, 5.0, 10.0, 31.0])
def test_the_judges_hear_every_moment_of_a_clip_equally(seconds):
    samples = round(seconds * 16_000)
    heard = []
    for place in torch.linspace(0.01 * samples, 0.98 * samples, 60).long().tolist():
        click = torch.zeros(1, samples)
        click[0, place] = 1.0
        heard.append(float((10 ** judge_mels(click) - 1e-3).sum()))
    assert min(heard) > 0.4 * max(heard)


@pytest.mark.parametrize("seconds", [5.0, 10.0])
def test_a_long_clip_is_as_loud_to_the_judges_as_a_short_one(seconds):
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, round(seconds * 16_000), generator=generator)
    assert float(judge_mels(noise).mean()) == pytest.approx(float(judge_mels(noise[:, :40_960]).mean()), abs=0.1)
    tone = 0.5 * torch.sin(torch.arange(noise.shape[1]) * 0.4)[None]
    assert float(judge_mels(tone).amax()) == pytest.approx(float(judge_mels(tone[:, :40_960]).amax()), abs=0.1)
