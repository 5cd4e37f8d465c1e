from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.probes import linear_probe, majority_rate, probe_attributes


def clusters(rows, dimensions, classes, seed, spread=0.3):
    """Embeddings around one centre a class, and the classes' names."""
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99)) * 2
    names = [f"class {row % classes}" for row in range(rows)]
    noise = torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))
    return centres[[row % classes for row in range(rows)]] + spread * noise, names


def noise(rows, dimensions, seed):
    return torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))


def test_separable_classes_are_read_off():
    train_x, train_y = clusters(120, 8, 5, 0)
    test_x, test_y = clusters(60, 8, 5, 1)
    assert linear_probe(train_x, train_y, test_x, test_y) == 1


def test_noise_tells_nothing_even_with_more_features_than_examples():
    names = [f"class {row % 4}" for row in range(200)]
    accuracy = linear_probe(noise(200, 400, 0), names, noise(200, 400, 1), names)
    assert 0.13 < accuracy < 0.37


def test_a_weak_signal_among_many_features_survives_because_the_ridge_is_chosen():
    names = [str(row % 2) for row in range(160)]
    sign = torch.tensor([2.0 * (row % 2) - 1 for row in range(160)])

    def views(seed):
        return noise(160, 150, seed) + 0.25 * sign[:, None]

    assert linear_probe(views(0), names, views(1), names) > 0.9


@given(
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10, deadline=None)
def test_the_unit_of_a_feature_makes_no_difference(scale, shift, seed):
    train_x, train_y = clusters(60, 4, 3, seed, 2.0)
    test_x, test_y = clusters(60, 4, 3, seed + 1, 2.0)
    units = torch.tensor([scale, 1.0, 1.0, 1.0]).double()
    plain = linear_probe(train_x.double(), train_y, test_x.double(), test_y)
    moved = linear_probe(train_x.double() * units + shift, train_y, test_x.double() * units + shift, test_y)
    assert moved == plain
    assert linear_probe(train_x.double(), train_y, test_x.double(), test_y) == plain


def test_features_that_tell_nothing_leave_the_commonest_class():
    names = (["common"] * 9 + ["rare"]) * 20
    assert linear_probe(noise(200, 3, 0), names, noise(200, 3, 1), names) == pytest.approx(0.9, abs=0.02)


def test_a_middle_class_on_a_line_is_found():
    counts = ["once", "twice", "three"] * 20
    line = torch.tensor([1.0, 2.0, 3.0] * 20)[:, None]
    assert linear_probe(line + 0.1 * noise(60, 1, 0), counts, line + 0.1 * noise(60, 1, 1), counts) == 1


def test_constant_features_do_no_harm():
    train_x, train_y = clusters(60, 4, 3, 0)
    test_x, test_y = clusters(30, 4, 3, 1)
    constant = torch.full((60, 1), 7.1)
    # A feature that was constant in training must not decide when it varies in the test set.
    varied = 7.1 + noise(30, 1, 2)
    assert linear_probe(torch.cat([train_x, constant], 1), train_y, torch.cat([test_x, varied], 1), test_y) == 1
    names = ["a"] * 40 + ["b"] * 20
    assert linear_probe(torch.full((60, 3), 0.1), names, torch.full((60, 3), 0.1), names) == pytest.approx(2 / 3)


def test_classes_that_training_never_saw_are_errors():
    train_x, train_y = clusters(60, 4, 2, 0)
    assert linear_probe(train_x, train_y, train_x, train_y[:30] + ["unseen"] * 30) == 0.5


def test_few_examples_a_class_are_enough_to_fit():
    train_x, train_y = clusters(6, 4, 3, 0, 0.01)
    assert linear_probe(train_x, train_y, train_x, train_y) == 1


@pytest.mark.parametrize("classes", [["only"] * 12, [f"class {row}" for row in range(12)]])
def test_one_class_or_one_example_a_class_leave_the_commonest(classes):
    assert linear_probe(noise(12, 4, 0), classes, noise(12, 4, 0), classes) == classes.count(min(classes)) / 12


def test_majority_rate():
    assert majority_rate(["a", "b", "b"], ["b", "a", "b", "c"]) == 0.5
    assert majority_rate(["b", "a"], ["a", "a", "b"]) == majority_rate(["a", "b"], ["a", "a", "b"]) == 2 / 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_tower_that_knows_no_numbers_is_refused(side, value):
    sides = [clusters(20, 4, 2, seed)[0] for seed in (0, 1)]
    sides[side][0, 0] = value
    names = ["a", "b"] * 10
    with pytest.raises(ValueError, match="not finite; look at the tower"):
        linear_probe(sides[0], names, sides[1], names)


def rows_with(pace, rest):
    return [{"attributes": {"pace": name} | extra, "sources": []} for name, extra in zip(pace, rest, strict=True)]


def test_attributes_are_probed_over_the_rows_that_have_them():
    train_x, pace = clusters(40, 4, 2, 0)
    test_x, test_pace = clusters(20, 4, 2, 1)
    # `size` is absent from half of the rows; where present it is noise's own affair.
    sizes = ["small", "small", "large", "large"]
    train_rows = rows_with(pace, [{"size": sizes[i % 4]} if i % 2 else {} for i in range(40)])
    test_rows = rows_with(test_pace, [{"size": sizes[i % 4]} if i % 2 else {} for i in range(20)])
    scores = probe_attributes(train_x, train_rows, test_x, test_rows)
    assert list(scores) == ["pace", "size"]
    assert scores["pace"] == 1
    alone = linear_probe(
        train_x[1::2], [row["attributes"]["size"] for row in train_rows[1::2]],
        test_x[1::2], [row["attributes"]["size"] for row in test_rows[1::2]],
    )  # fmt: skip
    assert scores["size"] == alone
    assert probe_attributes(None, train_rows, None, test_rows) == {"pace": 0.5, "size": 0.5}


def test_the_source_is_probed_over_the_clips_of_one_source():
    x, source = clusters(40, 4, 2, 0)
    rows = [{"attributes": {}, "sources": [name] if i % 4 else [name, "x"]} for i, name in enumerate(source)]
    assert probe_attributes(x, rows, x, rows) == {"source": 1}
    assert probe_attributes(None, rows, None, rows) == {"source": pytest.approx(2 / 3)}


def test_attributes_of_one_class_or_of_few_rows_are_left_out():
    train_x, pace = clusters(40, 4, 2, 0)
    rare = [{"rare": str(i % 2), "same": "x"} if i < 8 else {"same": "x"} for i in range(40)]
    train_rows = rows_with(pace, rare)
    assert list(probe_attributes(train_x, train_rows, train_x, train_rows)) == ["pace"]
    assert list(probe_attributes(train_x, train_rows, train_x, train_rows, minimum=8)) == ["pace", "rare"]
    without: list[dict[str, Any]] = [{"attributes": {}, "sources": []} for _ in range(40)]
    assert probe_attributes(train_x, without, train_x, without) == {}
