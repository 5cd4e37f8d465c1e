"""How far two spaces of embeddings are apart, whose rows belong together: no map between them is fitted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 10


def mismatch(left: Tensor, right: Tensor) -> dict[str, float]:
    """Three numbers about embeddings `[N, D]` and `[N, E]`, row i of both standing for the same thing; N at least 4.

    cka: linear centred kernel alignment (Kornblith et al. 2019), 1 for equal spaces up to rotation and scale, 0 on
        average for unrelated ones: by the unbiased estimate of Song et al. 2012 (equation 5), as N may be below D.
    mutual_neighbours: share of the 10 nearest neighbours that both have in common (Huh et al. 2024, section 2).
    modality_gap: distance of the means of both, each row scaled to length 1 (Liang et al. 2022); where D is E.
    """
    assert len(left) == len(right) > 3, f"{len(left)} and {len(right)} rows"
    left, right = left.cpu().double(), right.cpu().double()  # some cards have no doubles
    found = {"cka": _cka(left @ left.T, right @ right.T), "mutual_neighbours": _mutual_neighbours(left, right)}
    if left.shape == right.shape:
        means = [F.normalize(one, dim=-1).mean(dim=0) for one in (left, right)]
        found["modality_gap"] = float(torch.linalg.vector_norm(means[0] - means[1]))
    return {name: round(value, 4) for name, value in found.items()}


def mismatch_around(fused: Tensor, tokens: Tensor, wanted: Tensor) -> dict[str, float]:
    """`mismatch` to the mean of CLAP's tokens `[N, T, C]`, before and after an experiment's own map.

    `_before` it stand fused embeddings `[N, D]`, `_after` it the mean of `tokens` `[N, T, C]`; nothing where N is below
    4.
    """
    if len(fused) < 4:
        return {}
    sides = {"before": fused, "after": tokens.mean(dim=1)}
    found = {side: mismatch(one, wanted.mean(dim=1)) for side, one in sides.items()}
    return {f"{name}_{side}": value for side, numbers in found.items() for name, value in numbers.items()}


def _cka(left: Tensor, right: Tensor) -> float:
    spread = _hsic(left, left) * _hsic(right, right)
    return float(_hsic(left, right) / spread.clamp(min=1e-30).sqrt())


def _hsic(left: Tensor, right: Tensor) -> Tensor:
    """Hilbert-Schmidt independence criterion of two Gram matrices `[N, N]`, unbiased, but for a factor."""
    count = len(left)
    left, right = (gram - torch.diag(gram.diagonal()) for gram in (left, right))
    total = (left * right).sum() + left.sum() * right.sum() / ((count - 1) * (count - 2))
    return total - 2 * (left.sum(dim=0) @ right.sum(dim=0)) / (count - 2)


def _mutual_neighbours(left: Tensor, right: Tensor) -> float:
    near = []
    for one in (left, right):
        unit = F.normalize(one, dim=-1)
        similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
        chosen = similarity.topk(min(NEIGHBOURS, len(one) - 1)).indices
        near.append(torch.zeros_like(similarity, dtype=torch.bool).scatter_(1, chosen, True))
    return float((near[0] & near[1]).sum() / near[0].sum())
