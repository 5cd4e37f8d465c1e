import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from stages.evaluation.distances import (
    frechet_audio_distance,
    frechet_by_caption,
    kernel_audio_distance,
    kernel_by_caption,
)

FUNCTIONS = [frechet_audio_distance, kernel_audio_distance]
BY_CAPTION = [(frechet_by_caption, frechet_audio_distance), (kernel_by_caption, kernel_audio_distance)]
seeds = st.integers(0, 10_000)


def normal(clips, dimensions, seed, shift=0.0, scale=1.0):
    return torch.randn(clips, dimensions, generator=torch.Generator().manual_seed(seed)) * scale + shift


@given(seed=seeds, dimensions=st.integers(1, 12), clips=st.integers(20, 60), shift=st.floats(-3, 3))
@settings(max_examples=15, deadline=None)
def test_frechet_distance_is_the_closed_form(seed, dimensions, clips, shift):
    real, generated = normal(40, dimensions, seed), normal(clips, dimensions, seed + 1, shift, 1.5)
    mean_real, mean_generated = real.double().numpy().mean(0), generated.double().numpy().mean(0)
    covariance_real = np.cov(real.double().numpy().T).reshape(dimensions, dimensions)
    covariance_generated = np.cov(generated.double().numpy().T).reshape(dimensions, dimensions)
    root = sqrtm(covariance_real @ covariance_generated).real
    expected = ((mean_real - mean_generated) ** 2).sum() + np.trace(covariance_real + covariance_generated - 2 * root)
    assert frechet_audio_distance(real, generated) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_frechet_distance_of_a_shift_is_its_square_even_far_from_zero():
    real = normal(50, 4, 0).double() + 1e5
    assert frechet_audio_distance(real, real + 2) == pytest.approx(16, abs=1e-6)
    assert frechet_audio_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_exists_with_fewer_clips_than_dimensions():
    value = frechet_audio_distance(normal(5, 32, 0), normal(7, 32, 1))
    assert np.isfinite(value)
    assert value > 0


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_frechet_distance_is_symmetric(seed):
    one, other = normal(30, 5, seed), normal(40, 5, seed + 1, 0.5, 2.0)
    assert frechet_audio_distance(one, other) == pytest.approx(frechet_audio_distance(other, one), rel=1e-6)


def test_kernel_distance_is_the_unbiased_sum_over_pairs_written_out():
    real, generated = normal(6, 3, 0).double(), normal(5, 3, 1, 0.7).double()
    distances = sorted(float((real[i] - real[j]).norm()) for i in range(6) for j in range(i))
    bandwidth = distances[(len(distances) - 1) // 2]

    def kernel(a, b):
        return float(torch.exp(-(a - b).square().sum() / (2 * bandwidth**2)))

    within_real = np.mean([kernel(real[i], real[j]) for i in range(6) for j in range(6) if i != j])
    within_generated = np.mean([kernel(generated[i], generated[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([kernel(a, b) for a in real for b in generated])
    expected = 100 * (within_real + within_generated - 2 * between)
    assert kernel_audio_distance(real, generated) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_equal_distributions_is_zero_on_average():
    values = [kernel_audio_distance(normal(20, 4, 2 * seed), normal(30, 4, 2 * seed + 1)) for seed in range(200)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0 < max(values)


def test_kernel_distance_grows_with_the_shift_and_ignores_the_unit():
    real = normal(60, 4, 0)
    values = [kernel_audio_distance(real, normal(60, 4, 1, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values)
    assert kernel_audio_distance(real * 1000, normal(60, 4, 1, 2.0) * 1000) == pytest.approx(values[-1], rel=1e-4)


def test_kernel_distance_takes_its_bandwidth_from_the_real_set():
    narrow, wide = normal(40, 4, 0), normal(40, 4, 1, 0.0, 4.0)
    assert kernel_audio_distance(narrow, wide) != pytest.approx(kernel_audio_distance(wide, narrow), rel=0.1)
    # With equal bandwidths (a set and its mirror image) the order makes no difference.
    one = normal(40, 4, 2, 0.4)
    assert kernel_audio_distance(one, -one) == pytest.approx(kernel_audio_distance(-one, one), rel=1e-9)


@pytest.mark.parametrize("distance", FUNCTIONS)
@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_order_of_clips_makes_no_difference(distance, seed):
    real, generated = normal(20, 4, seed), normal(25, 4, seed + 1, 0.3)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(seed))
    assert distance(real, generated[order]) == pytest.approx(distance(real, generated), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("distance", FUNCTIONS)
@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), "real set of 1 clips"),
        (torch.rand(5, 3), torch.rand(0, 3), "generated set of 0 clips"),
        (torch.rand(5, 3), torch.rand(5, 4), "3 and 4 dimensions"),
        (torch.rand(5, 3), torch.full((5, 3), float("nan")), "not finite"),
        (torch.rand(5), torch.rand(5, 3), "shape"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(distance, real, generated, message):
    with pytest.raises(ValueError, match=message):
        distance(real, generated)


def test_a_judge_that_tells_nothing_apart_is_refused():
    with pytest.raises(ValueError, match="same embedding"):
        kernel_audio_distance(torch.ones(6, 3), torch.rand(6, 3))


@pytest.mark.parametrize(("by_caption", "distance"), BY_CAPTION)
@pytest.mark.parametrize("real_captions", [[f"caption {i}" for i in range(15)], None])
def test_counting_each_caption_once_gives_the_distance(by_caption, distance, real_captions):
    real, generated = normal(15, 4, 0), normal(45, 4, 1, 0.4)
    statistic, captions = by_caption(real, generated, real_captions, [f"caption {i % 15}" for i in range(45)])
    assert captions == 15
    assert statistic(np.ones((1, 15)))[0] == pytest.approx(distance(real, generated), rel=1e-6)


@pytest.mark.parametrize("real_captions", [list("abcdef"), None])
def test_frechet_counts_are_repeated_clips(real_captions):
    real, generated = normal(6, 3, 0), normal(12, 3, 1, 0.4)
    statistic, _ = frechet_by_caption(real, generated, real_captions, list("abcdefabcdef"))
    counts = np.array([[2.0, 0, 1, 3, 0, 0], [1, 1, 1, 1, 2, 0]])
    for value, row in zip(statistic(counts), counts, strict=True):
        times = torch.tensor(row).long()
        repeated = real if real_captions is None else real.repeat_interleave(times, 0)
        expected = frechet_audio_distance(repeated, generated.repeat_interleave(times.repeat(2), 0))
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_kernel_counts_never_pair_a_clip_with_its_copy(whole):
    real, generated = normal(4, 3, 0).double(), normal(8, 3, 1, 0.4).double()
    counts = [2, 0, 1, 1]
    statistic, _ = kernel_by_caption(real, generated, None if whole else list("abcd"), list("abcdabcd"))
    bandwidth = float(torch.nn.functional.pdist(real).median())

    def mean(left, right):
        pairs = [
            float(torch.exp(-(a - b).square().sum() / (2 * bandwidth**2)))
            for x, (copy_x, caption_x, a) in enumerate(left)
            for y, (copy_y, caption_y, b) in enumerate(right)
            if (left is not right or x != y) and (caption_x != caption_y or copy_x == copy_y)
        ]
        return np.mean(pairs)

    drawn_real = [(copy, c, real[c]) for c in range(4) for copy in range(counts[c])]
    if whole:
        drawn_real = [(0, 9 + c, real[c]) for c in range(4)]
    drawn = [(copy, i % 4, generated[i]) for i in range(8) for copy in range(counts[i % 4])]
    expected = 100 * (mean(drawn_real, drawn_real) + mean(drawn, drawn) - 2 * mean(drawn_real, drawn))
    assert statistic(np.array([counts], dtype=float))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("by_caption", [frechet_by_caption, kernel_by_caption])
def test_sets_of_different_captions_are_refused(by_caption):
    with pytest.raises(ValueError, match="'c'"):
        by_caption(torch.rand(3, 2), torch.rand(3, 2), list("abc"), list("abd"))
