"""The field's other measures, each against a form of its own, and what they say of made-up systems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.special import softmax
from scipy.stats import entropy

from stages.evaluation.protocol import inception_score, kl_divergence, mean_distance, nearest, protocol_rows
from stages.evaluation.scoring import CLAP, CLASSIFIER, ClipScores, Heard
from stages.evaluation.systems import MORE_METRICS

CAPTIONS, CLASSES = 24, 5


def normal(seed: int, *shape: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + shift


def heard(seed: int, clips: int, shift: float = 0.0) -> Heard:
    clap = normal(seed, clips, 4, shift=shift)
    return Heard(
        {CLAP: clap, CLASSIFIER: normal(seed + 1, clips, 3, shift=shift)}, clap, normal(seed + 2, clips, CLASSES)
    )


def clips_of(seed: int, takes: int = 1, shift: float = 0.0) -> ClipScores:
    rows = [{"id": f"c{place:02}"} for place in range(CAPTIONS) for _ in range(takes)]
    return ClipScores(rows, list(range(takes)) * CAPTIONS, heard(seed, len(rows), shift), {}, [{}] * len(rows))


def measured(scores: dict[str, ClipScores], learned: torch.Tensor, train: Heard, coded: Heard, **more: Any) -> Any:
    train_rows = [{"attributes": {}, "caption": f"t{place // 2}"} for place in range(len(train.audio))]
    images, tags = more.get("images", {}), more.get("tags", {})
    rows = protocol_rows(scores, (train_rows, train), coded, learned, images, tags)
    assert {row["detail"] for row in rows} <= set(MORE_METRICS)
    return {(row["system"], row["detail"]): row["value"] for row in rows}


def closed_form(real: torch.Tensor, generated: torch.Tensor) -> float:
    a, b = real.double().numpy(), generated.double().numpy()
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


def written_out(real: torch.Tensor, generated: torch.Tensor) -> float:
    a, b = real.double().numpy(), generated.double().numpy()
    apart = np.sort([np.linalg.norm(a[i] - a[j]) for i in range(len(a)) for j in range(i)])
    bandwidth = apart[(len(apart) - 1) // 2]

    def mean(left: Any, right: Any, same: bool) -> float:
        values = [
            np.exp(-np.square(x - y).sum() / (2 * bandwidth**2))
            for i, x in enumerate(left)
            for j, y in enumerate(right)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    return 100 * (mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False))


def test_each_distance_is_that_of_another_implementation_on_either_space_to_real_and_to_coded_clips():
    train, coded = heard(10, 30), heard(20, 20, shift=0.3)
    system = clips_of(30, takes=2, shift=0.5)
    found = measured({"real": clips_of(40), "experiment_a": system}, train.spaces[CLAP], train, coded)
    takes = [torch.arange(0, 2 * CAPTIONS, 2), torch.arange(1, 2 * CAPTIONS, 2)]
    for name, form in (("fad", closed_form), ("kad", written_out)):
        for ending, space, real in (
            ("_clap", CLAP, train),
            ("_coded", CLASSIFIER, coded),
            ("_clap_coded", CLAP, coded),
        ):
            expected = np.mean([form(real.spaces[space], system.heard.spaces[space][take]) for take in takes])
            assert found["experiment_a", name + ending] == pytest.approx(expected, abs=1e-6), name + ending


def test_without_sources_clap_is_the_headlines_space_and_stands_here_for_coded_clips_alone():
    def clap_alone(one: Heard) -> Heard:
        return Heard({CLAP: one.audio}, one.audio, None)

    system = clips_of(30)
    system = ClipScores(system.rows, system.takes, clap_alone(system.heard), {}, system.obeyed)
    train, coded = clap_alone(heard(10, 30)), clap_alone(heard(20, 20))
    found = measured({"real": system}, train.audio, train, coded)
    names = {name for _, name in found}
    assert names == {"fad_coded", "kad_coded", "take_distance", "near_training"}
    assert found["real", "fad_coded"] == pytest.approx(closed_form(coded.audio, system.heard.audio), abs=1e-6)


def test_kl_divergence_is_audioldm_evals():
    real, generated = normal(0, 9, 7), normal(1, 9, 7)
    expected = torch.nn.functional.kl_div(
        (generated.double().softmax(1) + 1e-6).log(), real.double().softmax(1), reduction="batchmean"
    )
    assert kl_divergence(real, generated) == pytest.approx(float(expected), abs=1e-6)
    assert kl_divergence(real, real) == pytest.approx(0, abs=1e-4)
    assert kl_divergence(torch.tensor([[0.0, 200.0]]), torch.tensor([[200.0, 0.0]])) == pytest.approx(13.8, abs=0.1)


def test_inception_score_is_the_divergence_from_the_mean_over_the_parts_of_a_drawn_order():
    logits = 3 * normal(0, 40, 6).double()
    p = softmax(logits.numpy(), axis=1)
    expected = np.exp(np.mean([entropy(row, p.mean(axis=0)) for row in p]))
    assert inception_score(logits) == pytest.approx(expected, abs=1e-6)
    parts = np.random.RandomState(2020).permutation(40).reshape(10, 4)
    assert inception_score(logits, splits=10) == pytest.approx(np.mean([inception_score(logits[p]) for p in parts]))
    sure = 50 * torch.eye(4).repeat(5, 1)
    assert inception_score(sure) == pytest.approx(4, abs=1e-3)
    assert inception_score(sure[:1].expand(8, 4)) == pytest.approx(1)


def test_a_generator_that_copies_training_clips_is_seen_and_one_that_repeats_itself():
    train, learned = heard(10, 60), normal(10, 60, 4)
    copies, alike = clips_of(50, takes=2), clips_of(60, takes=2)
    copies.heard.spaces[CLAP] = learned[: 2 * CAPTIONS] + 1e-3
    alike.heard.spaces[CLAP] = alike.heard.spaces[CLAP][::2].repeat_interleave(2, dim=0)
    scores = {"real": clips_of(40), "experiment_a": copies, "experiment_b": alike}
    found = measured(scores, learned, train, heard(20, 20))
    assert found["experiment_a", "near_training"] == 1
    assert found["real", "near_training"] < 0.1
    assert found["experiment_b", "near_training"] < 0.5
    assert found["experiment_b", "take_distance"] == 0
    assert found["experiment_a", "take_distance"] > 0.5
    assert found["real", "take_distance"] > 0.5


def test_one_take_has_no_diversity_and_only_what_was_measured_is_a_row():
    train = heard(10, 30)
    scores = {"real": clips_of(40), "codec": clips_of(40)}
    found = measured(scores, train.audio, train, heard(20, 20))
    assert ("codec", "take_distance") not in found
    assert ("codec", "imagebind_score") not in found
    assert ("codec", "panns_kl") not in found
    assert found["codec", "classifier_kl"] == pytest.approx(0, abs=1e-4)
    assert found["real", "classifier_inception_score"] > 1
    tags = {name: normal(7, CAPTIONS, 11) for name in scores}
    images = {name: torch.full((CAPTIONS,), 0.25) for name in scores}
    found = measured(scores, train.audio, train, heard(20, 20), tags=tags, images=images)
    assert found["codec", "imagebind_score"] == 0.25
    assert found["codec", "panns_kl"] == pytest.approx(0, abs=1e-4)
    assert 1 < found["codec", "panns_inception_score"] < found["codec", "classifier_inception_score"] * 11


def test_distances_are_per_group_and_to_the_nearest():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0], [9.0, 9.0]])
    assert mean_distance(points, ["a", "a", "b", "c"]) == 5
    assert np.isnan(mean_distance(points, list("abcd")))
    assert nearest(points[:2], points[2:]).tolist() == pytest.approx([1.0, 20**0.5])
