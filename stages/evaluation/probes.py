"""Linear probes: what can be read off an embedding by a linear classifier alone.

The probe is linear discriminant analysis with the covariance shrunk by Ledoit and Wolf's estimate (2004, "A
well-conditioned estimator for large-dimensional covariance matrices"), solved in closed form by scikit-learn: no seed,
no rate, nothing to tune. Unlike regression on one-hot targets it also finds a middle class on a line (once, twice,
three times).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from stages.corpus.clips import Row


def linear_probe(train_x: Tensor, train_y: Sequence[str], test_x: Tensor, test_y: Sequence[str]) -> float:
    """Accuracy of a linear classifier on the test set, in [0, 1].

    Args:
        train_x: embeddings `[N, D]`.
        train_y: classes `[N]`.
        test_x: embeddings `[M, D]`.
        test_y: classes `[M]`; a class that training never saw counts as an error.

    Raises:
        ValueError: values that are not finite.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not (train_x.isfinite().all() and test_x.isfinite().all()):
        raise ValueError("embeddings hold values that are not finite; look at the tower they come from")
    if not 1 < len(set(train_y)) < len(train_y):
        return majority_rate(train_y, test_y)  # one class, or one example a class: no spread within classes to fit
    train, test = (x.detach().double().cpu().numpy() for x in (train_x, test_x))
    probe = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    return float((probe.fit(train, np.array(train_y)).predict(test) == np.array(test_y)).mean())


def majority_rate(train_y: Sequence[str], test_y: Sequence[str]) -> float:
    """Accuracy of always answering the commonest class of training: what a probe has to beat.

    Of equally common classes the alphabetically first is taken.
    """
    return list(test_y).count(max(sorted(set(train_y)), key=list(train_y).count)) / len(test_y)


def probe_attributes(
    train: Tensor | None, train_rows: Sequence[Row], test: Tensor | None, test_rows: Sequence[Row], minimum: int = 10
) -> dict[str, float]:
    """Accuracy of a linear probe for each attribute of the corpus, over the rows that have it.

    The source counts as an attribute of the clips of one source.

    Args:
        train: embeddings `[N, D]`; None gives `majority_rate` instead of the probe.
        train_rows: `[N]` rows of metadata with `attributes` and `sources`.
        test: embeddings `[M, D]`, or None.
        test_rows: `[M]` rows of metadata.
        minimum: an attribute that fewer training or test rows have, or that has one class in either, is left out.

    Returns:
        Accuracy by attribute, ordered by name; empty where the corpus has no attributes.
    """
    train_values, test_values = ([_values(row) for row in rows] for rows in (train_rows, test_rows))
    scores = {}
    for name in sorted({name for values in train_values for name in values}):
        train_indices, test_indices = (
            [index for index, one in enumerate(values) if name in one] for values in (train_values, test_values)
        )
        train_y = [train_values[index][name] for index in train_indices]
        test_y = [test_values[index][name] for index in test_indices]
        if any(len(classes) < minimum or len(set(classes)) < 2 for classes in (train_y, test_y)):
            continue
        if train is None or test is None:
            scores[name] = majority_rate(train_y, test_y)
        else:
            scores[name] = linear_probe(train[train_indices], train_y, test[test_indices], test_y)
    return scores


def _values(row: Row) -> dict[str, str]:
    return dict(row["attributes"]) | ({"source": row["sources"][0]} if len(row["sources"]) == 1 else {})
