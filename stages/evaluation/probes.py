"""Linear probes: what can be read off an embedding by a linear classifier alone.

The probe is linear discriminant analysis with a ridge on the pooled covariance within classes (Friedman 1989,
"Regularized Discriminant Analysis"), solved in closed form: no seed, no learning rate, the same answer each time.
Unlike regression on one-hot targets it also finds a middle class on a line (once, twice, three times). Its ridge is
the one with the least cross-entropy on every fifth training example of each class, after which all are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

RIDGES = tuple(10.0**exponent for exponent in range(2, -5, -1))
HELD_OUT = 5


def linear_probe(
    train_x: Tensor, train_y: Sequence[str], test_x: Tensor, test_y: Sequence[str], balanced: bool = False
) -> float:
    """Accuracy of a linear classifier on the test set, in [0, 1].

    Args:
        train_x: embeddings `[N, D]`.
        train_y: classes `[N]`.
        test_x: embeddings `[M, D]`.
        test_y: classes `[M]`; a class that training never saw counts as an error.
        balanced: average the accuracy over the classes of the test set instead of over its examples.

    Raises:
        ValueError: no examples, unequal D or lengths, values that are not finite.
    """
    train, test = _checked("train", train_x, train_y), _checked("test", test_x, test_y)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"probes of {train.shape[1]} and {test.shape[1]} dimensions; take both from the same tower")
    held_out = _every_fifth(train_y)
    ridge = 1.0
    if held_out.any():
        fit = _fit(train[~held_out], [name for name, out in zip(train_y, held_out, strict=True) if not out])
        answers = [name for name, out in zip(train_y, held_out, strict=True) if out]
        # min() keeps the first of equals, which is the strongest ridge.
        ridge = min(RIDGES, key=lambda one: _cross_entropy(_scores(fit, one, train[held_out]), answers, fit.classes))
    fit = _fit(train, train_y)
    predicted = [fit.classes[place] for place in _scores(fit, ridge, test).argmax(1)]
    return _accuracy(predicted, test_y, balanced)


def majority_rate(train_y: Sequence[str], test_y: Sequence[str], balanced: bool = False) -> float:
    """Accuracy of always answering the commonest class of training: what a probe has to beat.

    Of equally common classes the alphabetically first is taken. Raises ValueError without examples.
    """
    if not train_y or not test_y:
        raise ValueError(f"{len(train_y)} training and {len(test_y)} test examples; need at least one of each")
    commonest = max(sorted(set(train_y)), key=list(train_y).count)
    return _accuracy([commonest] * len(test_y), test_y, balanced)


def probe_attributes(
    train_embeddings: Tensor,
    train_rows: Sequence[Mapping[str, Any]],
    test_embeddings: Tensor,
    test_rows: Sequence[Mapping[str, Any]],
    minimum: int = 10,
    balanced: bool = False,
) -> dict[str, float]:
    """Accuracy of a linear probe for each attribute of the corpus, over the rows that have it.

    Args:
        train_embeddings: `[N, D]`.
        train_rows: `[N]` rows of metadata with `attributes`.
        test_embeddings: `[M, D]`.
        test_rows: `[M]` rows of metadata with `attributes`.
        minimum: an attribute that fewer training or test rows have, or that has one class in either, is left out.
        balanced: as in `linear_probe`.

    Returns:
        Accuracy by attribute, ordered by name; empty where the corpus has no attributes.
    """
    scores = {}
    for attribute in probed_attributes(train_rows, test_rows, minimum):
        train_places, train_y = _having(train_rows, attribute)
        test_places, test_y = _having(test_rows, attribute)
        scores[attribute] = linear_probe(
            train_embeddings[train_places], train_y, test_embeddings[test_places], test_y, balanced
        )
    return scores


def majority_attributes(
    train_rows: Sequence[Mapping[str, Any]],
    test_rows: Sequence[Mapping[str, Any]],
    minimum: int = 10,
    balanced: bool = False,
) -> dict[str, float]:
    """`majority_rate` for the attributes that `probe_attributes` reports with the same arguments."""
    return {
        attribute: majority_rate(_having(train_rows, attribute)[1], _having(test_rows, attribute)[1], balanced)
        for attribute in probed_attributes(train_rows, test_rows, minimum)
    }


def probed_attributes(
    train_rows: Sequence[Mapping[str, Any]], test_rows: Sequence[Mapping[str, Any]], minimum: int
) -> list[str]:
    """Attributes with at least `minimum` rows and two classes in both sets, ordered by name."""
    names = sorted({name for row in train_rows for name in row["attributes"]})
    classes = {name: [_having(rows, name)[1] for rows in (train_rows, test_rows)] for name in names}
    return [
        name
        for name, sets in classes.items()
        if all(len(values) >= minimum and len(set(values)) > 1 for values in sets)
    ]


def _having(rows: Sequence[Mapping[str, Any]], attribute: str) -> tuple[list[int], list[str]]:
    places = [place for place, row in enumerate(rows) if attribute in row["attributes"]]
    return places, [rows[place]["attributes"][attribute] for place in places]


def _checked(name: str, embeddings: Tensor, classes: Sequence[str]) -> Array:
    if embeddings.dim() != 2 or len(embeddings) != len(classes) or not len(classes):
        raise ValueError(f"{name}: embeddings {list(embeddings.shape)} for {len(classes)} classes; need [N, D] and N")
    array: Array = embeddings.detach().double().cpu().numpy()
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: embeddings hold values that are not finite; look at the tower they come from")
    return array


def _every_fifth(classes: Sequence[str]) -> NDArray[np.bool_]:
    """True at the fifth, tenth, ... example of each class: every class stays in what is left."""
    seen: dict[str, int] = {}
    chosen = []
    for name in classes:
        seen[name] = seen.get(name, 0) + 1
        chosen.append(seen[name] % HELD_OUT == 0)
    return np.array(chosen)


@dataclass(frozen=True)
class _Fit:
    """All of a discriminant analysis that does not depend on its ridge; K classes, D features."""

    classes: list[str]
    mean: Array  # [D], of the features
    deviation: Array  # [D]
    eigenvalues: Array  # [D], of the standardised features' covariance within classes
    directions: Array  # [D, D], its eigenvectors in columns
    centroids: Array  # [K, D], of the classes, along these directions
    shares: Array  # [K], of the classes among the examples


def _fit(x: Array, y: Sequence[str]) -> _Fit:
    classes = sorted(set(y))
    mean, deviation = x.mean(0), x.std(0)
    # A feature that never varies stays at zero instead of blowing up its rounding error.
    deviation = np.where(deviation > 1e-8 * (1 + np.abs(mean)), deviation, np.inf)
    standard = (x - mean) / deviation
    member = (np.array(y)[:, None] == np.array(classes)[None, :]).astype(np.float64)
    centroids = (member / member.sum(0)).T @ standard
    within = standard - member @ centroids
    eigenvalues, directions = np.linalg.eigh(within.T @ within / len(x))
    return _Fit(classes, mean, deviation, eigenvalues.clip(min=0), directions, centroids @ directions, member.mean(0))


def _scores(fit: _Fit, ridge: float, x: Array) -> Array:
    """Logarithms of the classes' probabilities up to a constant of each row, `[M, K]`."""
    weights = fit.centroids / (fit.eigenvalues + ridge)
    projected = (x - fit.mean) / fit.deviation @ fit.directions
    scores: Array = projected @ weights.T - (weights * fit.centroids).sum(1) / 2 + np.log(fit.shares)
    return scores


def _cross_entropy(scores: Array, answers: Sequence[str], classes: Sequence[str]) -> float:
    shifted = scores - scores.max(1, keepdims=True)
    right = shifted[np.arange(len(answers)), [classes.index(answer) for answer in answers]]
    return float((np.log(np.exp(shifted).sum(1)) - right).mean())


def _accuracy(predicted: Sequence[str], true: Sequence[str], balanced: bool) -> float:
    right: dict[str, list[bool]] = {}
    for guess, answer in zip(predicted, true, strict=True):
        right.setdefault(answer, []).append(guess == answer)
    if balanced:
        return sum(sum(hits) / len(hits) for hits in right.values()) / len(right)
    return sum(sum(hits) for hits in right.values()) / len(true)
