"""Distances between a set of real and a set of generated clips, both given as embeddings of a judge.

Each distance comes twice: as one number, and as a function of how often each caption is counted, from which
`stages.evaluation.intervals` draws its confidence intervals without computing anything twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]

KAD_SCALE = 100.0


def frechet_audio_distance(real: Tensor, generated: Tensor) -> float:
    """Frechet distance between Gaussians fitted to both sets (Kilgour et al. 2019, FAD); 0 is best.

    Computed by torchmetrics' FrechetInceptionDistance in float64. The estimate is biased upwards for few clips, so
    compare only sets of equal size, and keep D well below the number of clips.

    Args:
        real: embeddings `[N, D]`.
        generated: embeddings `[M, D]`.

    Raises:
        ValueError: fewer than two clips in a set, unequal D, values that are not finite.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, generated = _checked(real, generated)
    # The distance does not change when both sets move, and torchmetrics' sums lose fewer digits around zero.
    centre = real.mean(0)
    # normalize=True only promises floating-point input; a module of ours is fed unchanged.
    metric = FrechetInceptionDistance(
        feature=_Embeddings(real.shape[1]), normalize=True, input_img_size=(real.shape[1],)
    ).set_dtype(torch.float64)
    metric.update(real - centre, real=True)
    metric.update(generated - centre, real=False)
    return max(0.0, float(metric.compute()))


class _Embeddings(nn.Module):
    """Stands where torchmetrics expects Inception: its input is the embedding already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings


def kernel_audio_distance(real: Tensor, generated: Tensor) -> float:
    """100 times the unbiased squared MMD under a Gaussian kernel (Chung et al. 2025, "KAD: No More FAD!").

    The bandwidth is the median distance between pairs of the real set, so the two arguments cannot be swapped. The
    factor 100 is that of the authors' toolkit (YoonjinXD/kadtk). Unbiased means that two samples of one distribution
    score 0 on average: small negative values are possible.

    Args:
        real: embeddings `[N, D]`.
        generated: embeddings `[M, D]`.

    Raises:
        ValueError: fewer than two clips in a set, unequal D, values that are not finite, real embeddings of which
            more than half of the pairs coincide.
    """
    real, generated = _checked(real, generated)
    bandwidth = _median_distance(real)
    within_real = _kernel(real, real, bandwidth).fill_diagonal_(0).sum() / (len(real) * (len(real) - 1))
    within_generated = _kernel(generated, generated, bandwidth).fill_diagonal_(0).sum()
    within_generated = within_generated / (len(generated) * (len(generated) - 1))
    between = _kernel(real, generated, bandwidth).mean()
    return KAD_SCALE * float(within_real + within_generated - 2 * between)


def frechet_by_caption(
    real: Tensor, generated: Tensor, real_captions: Sequence[str] | None, generated_captions: Sequence[str]
) -> tuple[Statistic, int]:
    """`frechet_audio_distance` as a function of how often each caption is counted.

    Args:
        real: embeddings `[N, D]`.
        generated: embeddings `[M, D]`, several clips a caption.
        real_captions: `[N]`; None for a real set of other captions, which is always counted whole.
        generated_captions: `[M]`, the captions of `real_captions`; clips of one caption are counted together.

    Returns:
        The function from counts `[draws, C]` to distances `[draws]`, and C; captions are ordered alphabetically.

    Raises:
        ValueError: as `frechet_audio_distance`; sets that do not cover the same captions.
    """
    real, generated = _checked(real, generated)
    real_table, generated_table = _membership(real_captions, generated_captions, len(real), len(generated))
    centre = real.mean(0)
    real_moments = _moments((real - centre).numpy(), real_table)
    generated_moments = _moments((generated - centre).numpy(), generated_table)

    def statistic(counts: Array) -> Array:
        mean_real, covariance_real = _gaussian(counts, *real_moments)
        mean_generated, covariance_generated = _gaussian(counts, *generated_moments)
        # The trace of the root of a product of covariances, by symmetric matrices only: eigenvalues stay real.
        root = _matrix_root(covariance_real)
        eigenvalues = np.linalg.eigvalsh(root @ covariance_generated @ root)
        overlap = np.sqrt(eigenvalues.clip(min=0)).sum(-1)
        spread = np.trace(covariance_real + covariance_generated, axis1=1, axis2=2)
        distance: Array = np.square(mean_real - mean_generated).sum(-1) + spread - 2 * overlap
        return distance

    return statistic, real_table.shape[0]


def kernel_by_caption(
    real: Tensor, generated: Tensor, real_captions: Sequence[str] | None, generated_captions: Sequence[str]
) -> tuple[Statistic, int]:
    """`kernel_audio_distance` as a function of how often each caption is counted; the bandwidth stays that of `real`.

    A caption that is counted n times stands for n separate captions: a clip is never paired with its own copy, which
    would pull every draw upwards. Arguments, result and errors are those of `frechet_by_caption`.
    """
    real, generated = _checked(real, generated)
    real_table, generated_table = _membership(real_captions, generated_captions, len(real), len(generated))
    bandwidth = _median_distance(real)

    def sums_and_pairs(left: Tensor, right: Tensor, left_table: Array, right_table: Array) -> tuple[Array, Array]:
        kernel = _kernel(left, right, bandwidth).numpy()
        pairs = np.ones_like(kernel)
        if left is right:
            np.fill_diagonal(kernel, 0)
            np.fill_diagonal(pairs, 0)
        return left_table @ kernel @ right_table.T, left_table @ pairs @ right_table.T

    within_real = sums_and_pairs(real, real, real_table, real_table)
    within_generated = sums_and_pairs(generated, generated, generated_table, generated_table)
    between = sums_and_pairs(real, generated, real_table, generated_table)
    if real_captions is None:
        between = np.diag(between[0].sum(0)), np.diag(between[1].sum(0))

    def statistic(counts: Array) -> Array:
        return KAD_SCALE * (
            _pair_mean(counts, *within_real) + _pair_mean(counts, *within_generated) - 2 * _pair_mean(counts, *between)
        )

    return statistic, real_table.shape[0]


def _checked(real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    for name, embeddings in (("real", real), ("generated", generated)):
        if embeddings.dim() != 2:
            raise ValueError(f"{name} embeddings of shape {list(embeddings.shape)}: need [clips, dimensions]")
        if len(embeddings) < 2:
            raise ValueError(f"{name} set of {len(embeddings)} clips: a distance needs at least 2; sample more")
        if not torch.isfinite(embeddings).all():
            raise ValueError(f"{name} embeddings hold values that are not finite; look at the clips they come from")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"embeddings of {real.shape[1]} and {generated.shape[1]} dimensions; take both from the same judge"
        )
    return real.detach().double().cpu(), generated.detach().double().cpu()


def _median_distance(real: Tensor) -> float:
    median = float(torch.nn.functional.pdist(real).median())
    if median == 0:
        raise ValueError("half or more of the real clips have the same embedding; the judge tells nothing apart")
    return median


def _kernel(left: Tensor, right: Tensor, bandwidth: float) -> Tensor:
    """Gaussian kernel `[N, M]`; distances are taken directly, as the product form loses small ones."""
    distances = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-distances.square() / (2 * bandwidth**2))


def _membership(
    real_captions: Sequence[str] | None, generated_captions: Sequence[str], real_clips: int, generated_clips: int
) -> tuple[Array, Array]:
    """Tables `[C, N]` and `[C, M]` of which share of a clip belongs to a caption."""
    assert len(generated_captions) == generated_clips, "one caption a generated clip"
    captions = sorted(set(generated_captions))
    names = np.array(captions)[:, None]
    generated_table = (names == np.array(generated_captions)).astype(np.float64)
    if real_captions is None:
        # Counts sum to C in every draw, so a set spread evenly over the captions is always counted whole.
        return np.full((len(captions), real_clips), 1 / len(captions)), generated_table
    assert len(real_captions) == real_clips, "one caption a real clip"
    if set(real_captions) != set(captions):
        other = min(set(real_captions) ^ set(captions))
        raise ValueError(f"caption {other!r} is in one of the real and generated sets only; compare equal captions")
    return (names == np.array(real_captions)).astype(np.float64), generated_table


def _moments(embeddings: Array, table: Array) -> tuple[Array, Array, Array]:
    """Clips `[C]`, sums `[C, D]` and sums of outer products `[C, D, D]` of each caption."""
    outer = np.stack([(members[:, None] * embeddings).T @ embeddings for members in table])
    return table.sum(1), table @ embeddings, outer


def _gaussian(counts: Array, clips: Array, sums: Array, outer: Array) -> tuple[Array, Array]:
    """Means `[draws, D]` and unbiased covariances `[draws, D, D]`."""
    total = counts @ clips
    mean = counts @ sums / total[:, None]
    second = np.tensordot(counts, outer, axes=1)
    scatter = second - total[:, None, None] * mean[:, :, None] * mean[:, None, :]
    return mean, scatter / (total - 1)[:, None, None]


def _matrix_root(covariance: Array) -> Array:
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    scaled = eigenvectors * np.sqrt(eigenvalues.clip(min=0))[:, None, :]
    root: Array = scaled @ eigenvectors.transpose(0, 2, 1)
    return root


def _pair_mean(counts: Array, sums: Array, pairs: Array) -> Array:
    """Mean `[draws]` over pairs of clips, of which captions c and d hold `pairs[c, d]` with the total `sums[c, d]`."""

    def weighted(table: Array) -> Array:
        own = np.diag(table)
        total: Array = ((counts @ (table - np.diag(own))) * counts).sum(-1) + counts @ own
        return total

    return weighted(sums) / weighted(pairs)
