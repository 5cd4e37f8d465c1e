"""Count how a file of captions fares in decomposition: by the caption's own words, with added words, or not at all.

Command: `bind-an-audio decomposition-report captions.csv --out report.tsv`. Seconds for 5,000 captions.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from stages.formats.files import write_tsv
from stages.language.rules import decompose
from stages.plumbing.progress import progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to a parser."""
    parser.add_argument("captions", type=Path, help="CSV file with a column of captions, as AudioCaps ships them")
    parser.add_argument("--column", default="caption", help="name of that column (caption)")
    parser.add_argument("--min-words", type=int, default=3, help="fewest words of a part (3)")
    parser.add_argument("--max-words", type=int, default=7, help="most words of a part (7)")
    parser.add_argument("--out", type=Path, help="write the table here as TSV too")


def main(arguments: argparse.Namespace) -> None:
    """Print the table, and write it where `--out` says."""
    captions = read_captions(arguments.captions, arguments.column)
    rows = report(captions, arguments.min_words, arguments.max_words)
    print("| outcome | captions | share |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| {row['outcome']} | {row['captions']} | {row['share']:.1%} |")
    if arguments.out:
        write_tsv(arguments.out, rows)


def report(captions: list[str], min_words: int, max_words: int) -> list[dict[str, str | int | float]]:
    """Count captions by outcome; shares are of all captions.

    Returns:
        Rows `{"outcome", "captions", "share"}`: `own_words`, `added_words` (only with added words), then
        `failed_<reason>` by falling count, then `all`.
    """
    outcomes: Counter[str] = Counter()
    for caption in progress(captions, "captions"):
        found = decompose(caption, min_words, max_words)
        if found.reason is not None:
            outcomes[f"failed_{found.reason}"] += 1
        else:
            outcomes["added_words" if found.added else "own_words"] += 1
    failed = sorted((name for name in outcomes if name.startswith("failed_")), key=lambda name: (-outcomes[name], name))
    counted = [(name, outcomes[name]) for name in ("own_words", "added_words", *failed)]
    counted.append(("all", len(captions)))
    return [{"outcome": name, "captions": count, "share": count / len(captions)} for name, count in counted]


def read_captions(path: Path, column: str) -> list[str]:
    """Read one column of a CSV file. Raises ValueError where it is missing or empty."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if column not in (reader.fieldnames or []):
            raise ValueError(f"{path}: no column {column!r} among {reader.fieldnames}; name it with --column")
        captions = [row[column] or "" for row in reader]
    if not captions:
        raise ValueError(f"{path}: holds no captions; give a file with rows")
    return captions
