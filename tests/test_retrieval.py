import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.retrieval import recall_at


def normal(rows, dimensions, seed):
    return torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))


def test_counterparts_are_found_by_direction_not_by_length():
    keys = normal(20, 8, 0)
    assert recall_at(keys * torch.arange(1, 21)[:, None], keys, 1) == 1
    assert recall_at(keys.roll(1, 0), keys, 1) == 0


def test_recall_counts_the_k_nearest():
    keys = torch.eye(4)
    queries = torch.tensor([[1, 0.9, 0, 0], [1, 0.9, 0, 0], [3, 2, 1, 0], [4, 3, 2, 1]])
    assert [recall_at(queries, keys, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("constant", [0.0, 1.0])
@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_embeddings_that_are_all_alike_score_chance(constant, k):
    alike = torch.full((20, 4), constant)
    assert recall_at(alike, alike, k) == pytest.approx(min(1, k / 20))


def test_rounding_noise_breaks_no_ties():
    queries, keys = (1 + 1e-5 * normal(50, 16, seed) for seed in (0, 1))
    assert recall_at(queries, keys, 1) == pytest.approx(1 / 50)


def test_a_constant_key_tower_scores_chance_under_groups():
    groups = list("aaab")
    alike = torch.ones(4, 3)
    # Three queries have three counterparts among four, one has one.
    assert recall_at(alike, alike, 1, groups) == pytest.approx((3 * 3 / 4 + 1 / 4) / 4)
    assert recall_at(alike, alike, 2, groups) == pytest.approx((3 + 2 / 4) / 4)


def test_any_clip_of_the_same_caption_is_a_hit():
    keys = normal(10, 8, 0)
    swapped = keys.view(5, 2, 8).flip(1).reshape(10, 8)
    assert recall_at(swapped, keys, 1) == 0
    assert recall_at(swapped, keys, 1, [str(number // 2) for number in range(10)]) == 1


@given(st.integers(0, 1000), st.integers(1, 5), st.data())
@settings(max_examples=25, deadline=None)
def test_ties_score_the_mean_over_all_orders_of_the_keys(seed, k, data):
    # Few directions, so that ties abound; orders are enumerated by brute force.
    picks = data.draw(st.lists(st.integers(0, 2), min_size=5, max_size=5))
    groups = data.draw(st.lists(st.sampled_from("abc"), min_size=5, max_size=5))
    keys = torch.eye(3)[picks]
    queries = normal(5, 3, seed)
    similarity = (torch.nn.functional.normalize(queries, dim=1) @ keys.T).double()
    shares = []
    for order in itertools.permutations(range(5)):
        hits = 0
        for query in range(5):
            ranked = sorted((-round(float(similarity[query, key]), 9), place, key) for place, key in enumerate(order))
            hits += any(groups[key] == groups[query] for _, _, key in ranked[:k])
        shares.append(hits / 5)
    assert recall_at(queries, keys, k, groups) == pytest.approx(sum(shares) / len(shares))


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_recall_never_falls_with_k(seed):
    queries, keys = normal(12, 3, seed), normal(12, 3, seed + 1)
    recalls = [recall_at(queries, keys, k) for k in range(1, 13)]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 1


def test_embeddings_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        recall_at(torch.full((3, 2), float("nan")), torch.rand(3, 2), 1)
