"""Put accepted and rejected pairs on one page, for people who would rather look than count.

Command: `bind-an-audio contact-sheet --out sheet.html`
Reads data/quality/ and data/images/; the page holds its images. Pairs are spread over the whole list. A second for 60.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stages.corpus.clips import QUALITY, iterate_images, spread
from stages.formats.files import read_jsonl, write_text
from stages.formats.images import UnusableImageError, open_image
from stages.report.pages import image_uri, page

PAIRS = 30  # accepted and as many rejected ones
SIDE = 160  # pixels of a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to a parser."""
    parser.add_argument("--out", type=Path, required=True, help="where the page goes, an .html file")


def main(arguments: argparse.Namespace) -> None:
    """Write the page. Raises ValueError where `--out` is no HTML file."""
    if arguments.out.suffix != ".html":
        raise ValueError(f"--out={arguments.out}: the sheet is a page; name an .html file")
    drawn = {row["id"]: row["file_name"] for row in iterate_images()}
    groups = {}
    for name in ("accepted", "rejected"):
        rows = read_jsonl(QUALITY / f"{name}.jsonl")
        shown = spread(rows, PAIRS)
        groups[f"{len(rows)} {name}"] = [row | {"picture": picture(drawn.get(row["id"]))} for row in shown]
    write_text(arguments.out, page("contact_sheet.html", groups=groups))
    print(f"{arguments.out}: {', '.join(f'{len(rows)} of {name}' for name, rows in groups.items())} pairs")


def picture(path: str | None) -> str | None:
    """A small picture as a data URI, None where there is none or it cannot be read."""
    try:
        return image_uri(open_image(path).resize((SIDE, SIDE)), "PNG") if path else None
    except UnusableImageError:
        return None
