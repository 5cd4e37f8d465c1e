"""Contrastive training of two towers, with negatives that are hard and negatives that are none left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stages.corpus.clips import Row, heard_attributes, seen_key


def contrastive_loss(left: Tensor, right: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, CLIP) over a batch of pairs.

    Args:
        left: embeddings `[B, D]` of length 1.
        right: embeddings `[B, D]` of length 1, row i belongs to row i of `left`.
        scale: of the cosine similarities, a scalar.
        same: `[B, B]`, true where row i and column j tell the same: such a pair is no negative.
    """
    logits = scale * left @ right.T
    others = ~torch.eye(len(left), dtype=torch.bool)
    logits = logits.masked_fill(same & others, float("-inf"))
    target = torch.arange(len(left))
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def key_codes(rows: Sequence[Row], key: Callable[[Row], str]) -> Tensor:
    """Integers `[N]` that are equal where `key(row)` is equal."""
    codes: dict[str, int] = {}
    return torch.tensor([codes.setdefault(key(row), len(codes)) for row in rows])


def equal_pairs(codes: Tensor) -> Tensor:
    """`[B, B]`, true where two rows have equal codes `[B]`."""
    return codes[:, None] == codes[None, :]


def hard_partners(rows: Sequence[Row], most: int = 8) -> Tensor:
    """For each row the indices `[N, most]` of rows that look the same and differ in few heard attributes.

    Candidates are rows of the same sources, those with the same looks and exactly one other heard attribute first;
    without any, the row itself. Ties are broken by position, so the answer depends on the rows alone.
    """
    by_source: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        by_source.setdefault(tuple(row["sources"]), []).append(index)
    partners = torch.empty(len(rows), most, dtype=torch.long)
    for index, row in enumerate(rows):
        heard, seen = heard_attributes(row), seen_key(row)
        ranked = []
        for other in by_source[tuple(row["sources"])]:
            theirs = heard_attributes(rows[other])
            differing = sum(heard.get(name) != theirs.get(name) for name in heard.keys() | theirs.keys())
            if other != index and (differing or not heard):
                ranked.append((differing - 1 + (seen_key(rows[other]) != seen), abs(other - index), other))
        chosen = [other for _, _, other in sorted(ranked)[:most]] or [index]
        partners[index] = torch.tensor([chosen[turn % len(chosen)] for turn in range(most)])
    return partners


def with_hard_partners(anchors: Tensor, partners: Tensor, update: int, each: int = 1) -> Tensor:
    """Anchors `[B]` and `each` hard partners of every one, `[(1 + each) B]`; others at each update."""
    columns = [(update * each + number) % partners.shape[1] for number in range(each)]
    return torch.cat([anchors, *(partners[anchors, column] for column in columns)])
