import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from stages.evaluation.distances import (
    frechet_audio_distance,
    frechet_counted,
    kernel_audio_distance,
    kernel_counted,
)

FUNCTIONS = [frechet_audio_distance, kernel_audio_distance]
COUNTED = [(frechet_counted, frechet_audio_distance), (kernel_counted, kernel_audio_distance)]
DIRECT = "donot_use_mm_for_euclid_dist"
HOSTILE = {  # what is done to two sets of noise around zero
    "nothing": lambda real, generated: (real, generated),
    "a large common offset": lambda real, generated: (real + 1e6, generated + 1e6),
    "a tiny spread": lambda real, generated: (1e-6 * real + 1, 1e-6 * generated + 1),
    "a large spread": lambda real, generated: (1e5 * real, 1e5 * generated),
    "duplicates": lambda real, generated: (real.repeat(3, 1), generated[:2].repeat(20, 1)),
    "equal sets": lambda real, generated: (real, real),
    "sets far apart": lambda real, generated: (real, generated + 100),
    "dimensions that say the same": lambda real, generated: (torch.cat([real] * 2, 1), torch.cat([generated] * 2, 1)),
    "dimensions that nearly say the same": lambda real, generated: (
        torch.cat([real, real + 1e-7 * real.sin()], 1),
        torch.cat([generated, generated + 1e-7 * generated.cos()], 1),
    ),
    "dimensions that stand still": lambda real, generated: (real * falling(real).round(), generated),
    "dimensions of all sizes": lambda real, generated: (real * falling(real) ** 6, generated * falling(generated) ** 6),
    "an outlier": lambda real, generated: (torch.cat([real, 1e3 * real[:1]]), generated),
}
SIZES = [(640, 100, 32), (640, 100, 4), (100, 640, 32), (40, 20, 32), (20, 300, 64), (2, 2, 3), (60, 50, 1)]
seeds = st.integers(0, 10_000)


def falling(clips):
    """Factors of the dimensions, from 1 to a tenth."""
    return torch.logspace(0, -1, clips.shape[1], dtype=clips.dtype)


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


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("numbers", [torch.float32, torch.float64])
@given(seed=seeds, sizes=st.sampled_from(SIZES))
@settings(max_examples=4, deadline=None)
def test_frechet_distance_holds_for_any_sets(kind, numbers, seed, sizes):
    real, generated = hostile(kind, sizes, seed, numbers)
    (mean_real, real), (mean_generated, generated) = deviations(real), deviations(generated)
    # The trace of the root of the covariances' product, without either.
    roots = np.linalg.svd(real @ generated.T, compute_uv=False)
    spread = np.square(real).sum() + np.square(generated).sum()
    expected = float(np.square(mean_real - mean_generated).sum()) + spread - 2 * roots.sum()
    found = frechet_audio_distance(*hostile(kind, sizes, seed, numbers))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9 * spread)


def hostile(kind, sizes, seed, numbers):
    clips, more, dimensions = sizes
    real, generated = HOSTILE[kind](
        normal(clips, dimensions, seed).double(), normal(more, dimensions, seed + 1, 0.2, 1.3).double()
    )
    return real.to(numbers), generated.to(numbers)


def deviations(clips):
    """The mean in extended precision, and what clips differ from it, such that their squares are the covariance."""
    exact = clips.numpy().astype(np.longdouble)
    mean = exact.mean(0)
    return mean, ((exact - mean) / np.sqrt(len(clips) - 1)).astype(np.float64)


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


def test_kernel_distance_of_many_clips_is_that_of_all_pairs_at_once():
    real, generated = normal(2300, 3, 0, 50).double(), normal(1300, 3, 1, 50.3).double()
    bandwidth = torch.nn.functional.pdist(real[::2]).median()
    once = {}
    for name, one, other in (("real", real, real), ("own", generated, generated), ("between", real, generated)):
        once[name] = torch.exp(-torch.cdist(one, other).square() / (2 * bandwidth**2))
    within = [(once[name].sum() - size) / (size * (size - 1)) for name, size in (("real", 2300), ("own", 1300))]
    expected = 100 * (sum(within) - 2 * once["between"].mean())
    assert kernel_audio_distance(real, generated) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("numbers", [torch.float32, torch.float64])
@given(seed=seeds, sizes=st.sampled_from(SIZES))
@settings(max_examples=4, deadline=None)
def test_kernel_distance_holds_for_any_sets(kind, numbers, seed, sizes):
    real, generated = (clips.double() for clips in hostile(kind, sizes, seed, numbers))
    bandwidth = torch.nn.functional.pdist(real).median()

    def kernels(one, other):
        return torch.exp(-torch.cdist(one, other, compute_mode=DIRECT).square() / (2 * bandwidth**2))

    within = [(kernels(one, one).sum() - len(one)) / (len(one) * (len(one) - 1)) for one in (real, generated)]
    expected = 100 * float(sum(within) - 2 * kernels(real, generated).mean())
    found = kernel_audio_distance(*hostile(kind, sizes, seed, numbers))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


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
    ],
)
def test_sets_of_fewer_than_two_clips_are_refused(distance, real, generated, message):
    with pytest.raises(ValueError, match=message):
        distance(real, generated)


def test_a_judge_that_tells_nothing_apart_is_refused():
    with pytest.raises(ValueError, match="same embedding"):
        kernel_audio_distance(torch.ones(6, 3), torch.rand(6, 3))


@pytest.mark.parametrize(("counted", "distance"), COUNTED)
@given(seed=seeds, clips=st.integers(2, 40), dimensions=st.integers(1, 12))
@settings(max_examples=10, deadline=None)
def test_counting_each_clip_once_gives_the_distance(counted, distance, seed, clips, dimensions):
    real, generated = normal(15, dimensions, seed), normal(clips, dimensions, seed + 1, 0.4)
    assert counted(real, generated)(np.ones((1, clips)))[0] == pytest.approx(
        distance(real, generated), rel=1e-6, abs=1e-8
    )


def test_frechet_counts_are_repeated_clips():
    real, generated = normal(6, 3, 0), normal(6, 3, 1, 0.4)
    counts = np.array([[2.0, 0, 1, 3, 0, 0], [1, 1, 1, 1, 2, 0]])
    for value, row in zip(frechet_counted(real, generated)(counts), counts, strict=True):
        expected = frechet_audio_distance(real, generated.repeat_interleave(torch.tensor(row).long(), 0))
        assert value == pytest.approx(expected, rel=1e-6)


def test_kernel_counts_never_pair_a_clip_with_its_copy():
    real, generated = normal(4, 3, 0).double(), normal(4, 3, 1, 0.4).double()
    counts = [2, 0, 1, 1]
    bandwidth = float(torch.nn.functional.pdist(real).median())

    def mean(pairs):
        return np.mean([float(torch.exp(-(a - b).square().sum() / (2 * bandwidth**2))) for a, b in pairs])

    drawn = [(clip, generated[clip]) for clip in range(4) for _ in range(counts[clip])]
    expected = 100 * (
        mean([(real[i], real[j]) for i in range(4) for j in range(4) if i != j])
        + mean([(a, b) for i, a in drawn for j, b in drawn if i != j])
        - 2 * mean([(a, b) for a in real for _, b in drawn])
    )
    assert kernel_counted(real, generated)(np.array([counts], dtype=float))[0] == pytest.approx(expected, rel=1e-9)
