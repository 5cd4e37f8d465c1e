"""Convergence and mismatch as numbers, against cases whose answer is known."""

from __future__ import annotations

import pytest
import torch

from stages.evaluation.mismatch import mismatch
from stages.training.convergence import convergence


def curve(losses, norms):
    return [{"loss": loss, "highest_gradient_norm": norm} for loss, norm in zip(losses, norms, strict=True)]


def test_a_quick_calm_training_and_a_slow_restless_one():
    quick = convergence(curve([2.0, 1.04, 1.01, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0] * 8), "loss")
    assert quick["epochs_to_5_percent"] == 2
    assert quick["variation_last"] == 0
    assert quick["variation_first"] == pytest.approx(0.3265, abs=1e-3)
    assert quick["gradient_spikes"] == 0
    restless = convergence(curve([1.0, 1.0, 1.0, 2.0, 1.0, 3.0, 1.0, 1.0], [1, 1, 1, 9, 1, 9, 1, 1]), "loss")
    assert restless["epochs_to_5_percent"] == 7
    assert restless["variation_last"] > 0.4
    assert restless["gradient_spikes"] == 0.25


def test_equal_spaces_and_unrelated_ones():
    torch.manual_seed(0)
    space = torch.randn(60, 16)
    rotation = torch.linalg.qr(torch.randn(16, 16)).Q
    rotated = mismatch(space, 3 * space @ rotation)
    assert rotated["cka"] == pytest.approx(1, abs=1e-3)
    assert rotated["mutual_neighbours"] == 1
    # With fewer rows than dimensions the biased estimate would be far above 0.
    unrelated = mismatch(torch.randn(30, 64), torch.randn(30, 48))
    assert abs(unrelated["cka"]) < 0.1
    assert unrelated["mutual_neighbours"] < 0.5
    assert "modality_gap" not in unrelated
    assert mismatch(space + 50, space - 50)["modality_gap"] == pytest.approx(2, abs=0.05)


def test_cka_is_the_mean_of_its_estimate_over_pairs_that_one_counts_by_hand():
    """Against the definition: HSIC by sums over different indices, brute force."""
    torch.manual_seed(1)
    left, right = torch.randn(6, 3).double(), torch.randn(6, 2).double()

    def hsic(one, other):
        first, second = one @ one.T, other @ other.T
        indices = range(6)
        pairs = [(i, j) for i in indices for j in indices if i != j]
        two = sum(first[i, j] * second[i, j] for i, j in pairs) / 30
        three = sum(first[i, j] * second[i, k] for i, j in pairs for k in indices if k not in (i, j)) / 120
        quads = [(i, j, k, q) for i, j in pairs for k, q in pairs if len({i, j, k, q}) == 4]
        four = sum(first[i, j] * second[k, q] for i, j, k, q in quads) / len(quads)
        return float(two - 2 * three + four)

    by_hand = hsic(left, right) / (hsic(left, left) * hsic(right, right)) ** 0.5
    assert mismatch(left.float(), right.float())["cka"] == pytest.approx(by_hand, abs=1e-3)
