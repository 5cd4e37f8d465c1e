from typing import Any

import pytest

from tests.smoke_reference import complaints

REFERENCE: dict[str, dict[str, Any]] = {
    "same": {"data/decomposed.jsonl": "a" * 32},
    "metrics": {"train_b.updates": 6.0, "judges.source_accuracy": 0.5, "evaluation.experiment_b.fad": 10.0},
}


def changed(name, value):
    return {**REFERENCE, "metrics": {**REFERENCE["metrics"], name: value}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_b.updates", 6.0), ("judges.source_accuracy", 0.625), ("evaluation.experiment_b.fad", 10.15)],
)
def test_a_slightly_other_number_is_another_processor(name, value):
    assert complaints(changed(name, value), REFERENCE) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_b.updates", 7.0), ("judges.source_accuracy", 0.75), ("evaluation.experiment_b.fad", 10.5)],
)
def test_a_clearly_other_number_is_named(name, value):
    (line,) = complaints(changed(name, value), REFERENCE)
    assert line.startswith(f"{name}: {value:g}, expected")


def test_other_text_and_a_missing_metric_are_named():
    run = {"same": {"data/decomposed.jsonl": "b" * 32}, "metrics": {"train_b.updates": 6.0}}
    lines = complaints(run, REFERENCE)
    assert lines[0].startswith("data/decomposed.jsonl: md5")
    assert [line.split(":")[0] for line in lines[1:]] == ["evaluation.experiment_b.fad", "judges.source_accuracy"]
