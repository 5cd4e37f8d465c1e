"""Pairs of the rule-based decomposer that were judged one by one: none changes unseen, the docs say what they say."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from stages.formats.files import read_jsonl
from stages.language.rules import decompose
from stages.language.text import text_problems

ROOT = Path(__file__).parents[1]
LABELS = Path(__file__).parent / "data" / "decomposition_labels.jsonl"
FRESH_LABELS = LABELS.with_name("fresh_caption_labels.jsonl")
USERS_LABELS = LABELS.with_name("user_caption_labels.jsonl")


@pytest.mark.parametrize(("labels", "count"), [(LABELS, 100), (FRESH_LABELS, 100), (USERS_LABELS, 218)])
def test_judged_pairs_have_not_changed_unseen(labels, count):
    rows = read_jsonl(labels)
    assert len({row["caption"] for row in rows}) > 0.95 * count
    assert len(rows) == count
    changed = []
    for row in rows:
        found = decompose(row["caption"], 3, 7)
        if (found.visual_part, found.text_part, found.reason) != (row["visual_part"], row["text_part"], row["reason"]):
            changed.append(f"{row['id']}: {row['visual_part']} | {row['text_part']} | {row['reason']}")
            changed.append(f"    now: {found.visual_part} | {found.text_part} | {found.reason}")
    assert not changed, "to be judged anew:\n" + "\n".join(changed)


def test_documented_verdicts_are_those_of_the_labels():
    users = read_jsonl(USERS_LABELS)
    sets = {"AudioCaps, a new draw": read_jsonl(FRESH_LABELS), "AudioCaps": read_jsonl(LABELS)}
    for name, prefix, first, last in (
        ("Clotho's and WavCaps' manner", "corpus", 50, 99),
        ("the same, earlier", "corpus", 0, 49),
        ("users' manner", "user", 0, 49),
        ("a newcomer's, plain", "plain", 0, 27),
        ("a newcomer's, rich", "rich", 0, 39),
    ):
        ids = {f"{prefix}-{number}" for number in range(first, last + 1)}
        sets[name] = [row for row in users if row["id"] in ids]
    document = (ROOT / "docs" / "decomposition.md").read_text()
    for name, rows in sets.items():
        for rules, parts in (
            ("before", [row["before"] for row in rows]),
            ("today", rows),
            ("by hand", [row["by_hand"] for row in rows if "by_hand" in row]),
        ):
            refused = sum(not part["text_part"] for part in parts)
            added = sum(bool(part.get("added")) for part in parts)
            for judged in (
                [part for part in parts if "overall" in part and part["text_part"]],
                [part["fresh_reader"] for part in parts if "fresh_reader" in part],
            ):
                verdicts = [sum(one["overall"] == word for one in judged) for word in ("good", "acceptable", "bad")]
                verdicts += [
                    refused,
                    added,
                    *(sum(one[key] for one in judged) for key in ("visual_right", "text_right")),
                ]
                line = f"| {name} | {rules} | {' | '.join(map(str, verdicts))} |"
                assert not judged or line in document.replace("—", "0"), line


def test_fresh_readers_judged_every_pair_of_the_new_draw():
    for row in read_jsonl(FRESH_LABELS):
        for part in (row, row["before"], row["by_hand"]):
            assert bool(part["text_part"]) == ("fresh_reader" in part)
        assert not text_problems(row["by_hand"]["visual_part"], row["by_hand"]["text_part"], 3, 7)


def test_labelled_captions_are_a_random_draw_of_audiocaps(corpora):
    with open(corpora / "audiocaps" / "test.csv", encoding="utf-8", newline="") as file:
        rows = {row["audiocap_id"]: row["caption"] for row in csv.DictReader(file)}
    drawn = random.Random(62).sample(sorted(rows), 100)
    assert {row["id"]: row["caption"] for row in read_jsonl(LABELS)} == {name: rows[name] for name in drawn}
    held = {row["caption"] for labels in (LABELS, USERS_LABELS) for row in read_jsonl(labels)}
    pool = sorted(name for name, caption in rows.items() if caption not in held)
    assert [row["id"] for row in read_jsonl(FRESH_LABELS)] == random.Random(1127).sample(pool, 100)
