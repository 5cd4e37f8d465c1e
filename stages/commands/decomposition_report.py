"""Count how a file of captions fares in decomposition: by the caption's own words, with added words, or not at all.

Command: `bind-an-audio decomposition-report captions.csv --out report.tsv`; metadata.jsonl will do too. Then each
reason with examples and what to do. Seconds for 5,000 captions.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from stages.formats.files import read_jsonl, write_tsv
from stages.language.rules import Decomposition, decompose
from stages.language.text import outcomes
from stages.plumbing.progress import progress
from stages.report.pages import markdown_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to a parser."""
    parser.add_argument("captions", type=Path, help="CSV or JSONL file with a column of captions")
    parser.add_argument("--column", default="caption", help="name of that column (default: caption)")
    parser.add_argument("--min-words", type=int, default=3, help="fewest words of a part (default: 3)")
    parser.add_argument("--max-words", type=int, default=7, help="most words of a part (default: 7)")
    parser.add_argument("--out", type=Path, help="write the table here as TSV too")


def main(arguments: argparse.Namespace) -> None:
    """Print the table, and write it where `--out` says."""
    captions = read_captions(arguments.captions, arguments.column)
    found = [decompose(text, arguments.min_words, arguments.max_words) for text in progress(captions, "captions")]
    rows = report(found)
    cells = [[str(row["outcome"]), str(row["captions"]), f"{row['share']:.1%}"] for row in rows]
    print(markdown_table(["outcome", "captions", "share"], cells))
    print(*outcomes(zip(captions, (one.reason for one in found), strict=True)), sep="\n")
    if arguments.out:
        write_tsv(arguments.out, rows)


def report(found: list[Decomposition]) -> list[dict[str, str | int | float]]:
    """Count decompositions by outcome; shares are of all captions.

    Returns:
        Rows `{"outcome", "captions", "share"}`: `own_words`, `added_words` (only with added words), then
        `failed_<reason>` by falling count, then `all`.
    """
    counts: Counter[str] = Counter()
    for one in found:
        counts[f"failed_{one.reason}" if one.reason else "added_words" if one.added else "own_words"] += 1
    failed = sorted((name for name in counts if name.startswith("failed_")), key=lambda name: (-counts[name], name))
    counted = [(name, counts[name]) for name in ("own_words", "added_words", *failed)]
    counted.append(("all", len(found)))
    return [{"outcome": name, "captions": count, "share": count / len(found)} for name, count in counted]


def read_captions(path: Path, column: str) -> list[str]:
    """Read one column of a CSV or JSONL file. Raises ValueError where it is missing or empty."""
    if path.suffix == ".jsonl":
        rows = read_jsonl(path)
    else:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    if rows and column not in rows[0]:
        raise ValueError(f"{path}: no column {column!r} among {list(rows[0])}; name it with --column")
    captions = [str(row.get(column) or "") for row in rows]
    if not captions:
        raise ValueError(f"{path}: holds no captions; give a file with rows")
    return captions
