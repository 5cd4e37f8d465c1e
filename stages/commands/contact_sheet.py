"""Put accepted and rejected pairs on one page, for people who would rather look than count.

Command: `bind-an-audio contact-sheet --out sheet.html`; with `--out sheet.png` an image instead of a page
Reads data/quality/ and data/images/. Pairs are spread over the whole list. A second for 60 pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.corpus.clips import QUALITY, spread
from stages.formats.files import read_jsonl, replacing, write_text
from stages.imagery.image_folder import images_in_order
from stages.report.contact_sheet import contact_page, contact_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to a parser."""
    parser.add_argument("--out", type=Path, required=True, help="where the page (.html) or image (.png) goes")
    parser.add_argument("--pairs", type=int, default=30, help="how many accepted and how many rejected pairs (30)")


def main(arguments: argparse.Namespace) -> None:
    """Write the sheet.

    Raises ValueError where `--out` is neither HTML nor PNG or `--pairs` is not positive.
    """
    if arguments.out.suffix not in (".html", ".png"):
        raise ValueError(f"--out={arguments.out}: neither .html nor .png; name one of these")
    if arguments.pairs < 1:
        raise ValueError(f"--pairs={arguments.pairs}: at least 1")
    drawn = {item: path for item, path, _ in images_in_order()}
    groups = {}
    for name in ("accepted", "rejected"):
        rows = read_jsonl(QUALITY / f"{name}.jsonl")
        groups[f"{len(rows)} {name}"] = [row | {"image": drawn.get(row["id"])} for row in spread(rows, arguments.pairs)]
    if arguments.out.suffix == ".html":
        write_text(arguments.out, contact_page(groups))
    else:
        with replacing(arguments.out) as path:
            contact_picture(groups).save(path, format="PNG")
    print(f"{arguments.out}: {', '.join(f'{len(rows)} of {name}' for name, rows in groups.items())} pairs")
