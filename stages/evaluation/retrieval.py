"""Retrieval: does an embedding find its counterpart in another modality?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Similarities closer than this differ by rounding alone.
TIE = 1e-6


def recall_at(queries: Tensor, keys: Tensor, k: int, groups: Sequence[str] | None = None) -> float:
    """Share of queries with a counterpart among the k keys of the highest cosine similarity (R@k), in [0, 1].

    Keys of equal similarity stand in random order, and the expected share is returned: embeddings that are all alike
    score what guessing would.

    Args:
        queries: `[N, D]`.
        keys: `[N, D]`; key i is the counterpart of query i.
        k: how many keys are looked at.
        groups: `[N]`; keys of an equal group (the same caption) are counterparts too.

    Raises:
        ValueError: values that are not finite.
    """
    if not (torch.isfinite(queries).all() and torch.isfinite(keys).all()):
        raise ValueError("embeddings hold values that are not finite; look at the model they come from")
    names = [str(index) for index in range(len(queries))] if groups is None else groups
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    codes = torch.tensor([numbers[name] for name in names])
    counterpart = codes[:, None] == codes[None, :]
    similarity = _normalised(queries) @ _normalised(keys).T
    best = similarity.masked_fill(~counterpart, -2).amax(1, keepdim=True)
    before = (similarity > best + TIE).sum(1)
    tied = (similarity - best).abs() <= TIE
    shares = [
        _found(k - int(ahead), int(among), int(hits))
        for ahead, among, hits in zip(before, tied.sum(1), (tied & counterpart).sum(1), strict=True)
    ]
    return sum(shares) / len(shares)


def _found(drawn: int, tied: int, hits: int) -> float:
    """Probability that `drawn` of `tied` keys in random order hold one of the `hits`."""
    missed = 1.0
    for index in range(min(max(drawn, 0), tied)):
        missed *= max(tied - hits - index, 0) / (tied - index)
    return 1 - missed


def _normalised(embeddings: Tensor) -> Tensor:
    # On the CPU: some cards have no doubles.
    return torch.nn.functional.normalize(embeddings.detach().cpu().double(), dim=-1)
