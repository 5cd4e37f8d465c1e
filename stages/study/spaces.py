"""ImageBind's space beside CLAP's in a plane, before and after A's projection and B's transformation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.embedding.embeddings import load_embeddings
from stages.evaluation.mismatch import mismatch
from stages.experiments.experiment_a import load_experiment_a
from stages.experiments.experiment_b import load_experiment_b
from stages.judging.clap_scorer import principal_directions


@torch.no_grad()
def spaces() -> dict[str, tuple[Tensor, Tensor]]:
    """By title, points `[N, 2]` of ImageBind's side and of CLAP's mean tokens, of the pairs of the validation split.

    Before is A's fused embedding, after the mean of a context's tokens, all scaled to length 1. Titles bear the CKA of
    `evaluation.mismatch`.
    """
    pairs = load_embeddings("valid")
    a, b = load_experiment_a(), load_experiment_b()
    clap = pairs.clap_tokens.mean(dim=1)
    sides = {
        "Before: fused embedding": a.fusion(pairs.text, pairs.image),
        "After A's projection": a.context(pairs.text, pairs.image).mean(dim=1),
        "After B's transformation": b.context(pairs.text, pairs.image, range(len(pairs.ids))).mean(dim=1),
    }
    return {f"{title}\nCKA {mismatch(one, clap)['cka']:.2f}": in_plane(one, clap) for title, one in sides.items()}


def in_plane(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both `[N, D]` and `[N, E]`, rows scaled to length 1, in the plane `[N, 2]` in which they vary most together.

    The narrower one is filled up with zeros.
    """
    width = max(left.shape[1], right.shape[1])
    both = torch.cat([F.pad(F.normalize(one, dim=-1), (0, width - one.shape[1])) for one in (left, right)])
    points = (both - both.mean(dim=0)) @ principal_directions(both, 2)
    return points[: len(left)], points[len(left) :]
