import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.distances import (
    frechet_audio_distance,
    frechet_counted,
    kernel_audio_distance,
    kernel_counted,
)
from stages.evaluation.intervals import bootstrap_distance, bootstrap_mean

CAPTIONS = [f"caption {number:02}" for number in range(30)]


def bounded(estimate):
    """Value, low and high, of which none is missing."""
    assert None not in estimate
    return estimate


def test_the_interval_of_a_mean_agrees_with_the_normal_one():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    mean, low, high = bounded(bootstrap_mean(values, [str(number) for number in range(400)], 2000, 1))
    half = 1.96 * values.std() / 20
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(mean - half, abs=0.03)
    assert high == pytest.approx(mean + half, abs=0.03)


def test_the_interval_holds_the_truth_about_95_times_in_100():
    random = np.random.default_rng(0)
    groups = [caption for caption in CAPTIONS for _ in range(3)]
    hits = 0
    for seed in range(200):
        values = np.repeat(random.normal(size=30), 3) + 0.3 * random.normal(size=90)
        _, low, high = bounded(bootstrap_mean(values, groups, 300, seed))
        hits += low <= 0 <= high
    # Were takes drawn one by one, some 75 % would be reached.
    assert 176 <= hits <= 199


def test_more_takes_of_the_same_captions_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=30)
    once = bootstrap_mean(values, CAPTIONS, 500, 1)
    thrice = bootstrap_mean(np.tile(values, 3), CAPTIONS * 3, 500, 1)
    assert thrice == pytest.approx(once)


def test_captions_with_more_takes_weigh_more():
    mean, low, high = bounded(bootstrap_mean([0, 0, 0, 1, 1], list("aaabc"), 500, 1))
    assert mean == 0.4
    assert 0 <= low < mean < high <= 1


@given(seed=st.integers(0, 1000), value=st.floats(-1e6, 1e6))
@settings(max_examples=25, deadline=None)
def test_equal_values_leave_no_doubt(seed, value):
    mean, low, high = bounded(bootstrap_mean([value] * 10, CAPTIONS[:10], 50, seed))
    assert mean == pytest.approx(value)
    assert (low, high) == pytest.approx((mean, mean))


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_same_seed_gives_the_same_interval_in_any_order_of_rows(seed):
    values = np.random.default_rng(seed).normal(size=30)
    order = np.random.default_rng(seed + 1).permutation(30)
    interval = bootstrap_mean(values, CAPTIONS, 200, seed)
    assert bootstrap_mean(values, CAPTIONS, 200, seed) == interval
    assert bootstrap_mean(values[order], [CAPTIONS[i] for i in order], 200, seed) == pytest.approx(interval)
    assert bootstrap_mean(values, CAPTIONS, 200, seed + 1)[1:] != interval[1:]


def test_a_paired_difference_sees_what_separate_intervals_cannot():
    difficulty = np.random.default_rng(0).normal(0, 5, size=30)
    noise = np.random.default_rng(1).normal(0, 0.2, size=30)
    a, b = difficulty + 0.5 + noise, difficulty
    difference, low, high = bounded(bootstrap_mean(a - b, CAPTIONS, 500, 1))
    assert difference == pytest.approx((a - b).mean())
    assert 0 < low < difference < high < 1
    assert bounded(bootstrap_mean(a, CAPTIONS, 500, 1)).low < bounded(bootstrap_mean(b, CAPTIONS, 500, 1)).high


def test_clips_of_which_nothing_is_known_are_left_out():
    values, more = np.random.default_rng(0).normal(size=30), [np.nan] * 3
    known = bootstrap_mean(values, CAPTIONS, 100, 1)
    assert bootstrap_mean([*values, *more], [*CAPTIONS, "one more", *CAPTIONS[:2]], 100, 1) == known


@pytest.mark.parametrize(
    ("counted", "distance"), [(frechet_counted, frechet_audio_distance), (kernel_counted, kernel_audio_distance)]
)
def test_a_distance_lies_within_its_interval_and_tells_near_from_far(counted, distance):
    random = torch.Generator().manual_seed(0)
    real, noise = torch.randn(60, 8, generator=random), torch.randn(60, 8, generator=random)
    near = bounded(bootstrap_distance(counted(real, noise), 60, 300, 1))
    far = bounded(bootstrap_distance(counted(real, noise + 1.5), 60, 300, 1))
    assert near.value == pytest.approx(distance(real, noise), rel=1e-6, abs=1e-9)
    assert near.low <= near.value <= near.high
    assert far.low < far.value < far.high
    assert near.high < far.low
    assert bootstrap_distance(counted(real, noise), 60, 300, 1) == near


def test_the_interval_of_a_frechet_distance_stays_above_zero():
    real = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    value, low, high = bounded(bootstrap_distance(frechet_counted(real, real + 1e-6), 30, 200, 1, lowest=0.0))
    assert 0 <= low <= value <= high < 1.5
    assert bounded(bootstrap_distance(frechet_counted(real, real + 1e-6), 30, 200, 1)).low < 0


@pytest.mark.parametrize("captions", [1, 2, 3])
def test_three_captions_have_an_interval_and_fewer_have_none(captions):
    groups = list("abc")[:captions]
    mean = bootstrap_mean([0.0, 1.0, 2.0][:captions], groups, 100, 1)
    assert mean.value == pytest.approx((captions - 1) / 2)
    embeddings = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    distances = [
        bootstrap_distance(counted(embeddings, embeddings[:captions] * 2 + 3), captions, 100, 1)
        for counted in (frechet_counted, kernel_counted)
        if captions > 1
    ]
    for estimate in (mean, *distances):
        if captions < 3:
            assert estimate[1:] == (None, None)
        else:
            assert -np.inf < bounded(estimate).low < estimate.value < bounded(estimate).high < np.inf


def test_the_surplus_of_repeated_clips_is_taken_off():
    def upwards(counts):
        return np.square(counts).sum(1)

    value, low, high = bounded(bootstrap_distance(upwards, 30, 1000, 1))
    assert value == 30
    assert low < 30 < high
