"""Put accepted and rejected pairs on one page, for people who would rather look than count.

Command: `bind-an-audio contact-sheet --out sheet.html`; with `--out sheet.png` an image instead of a page
Reads data/quality/ and data/images/. Pairs are spread over the whole list; the page holds its images and fetches
nothing. A second for 60 pairs.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from stages.corpus.clips import spread
from stages.formats.files import read_jsonl, replacing, write_text
from stages.formats.images import UnusableImageError, open_image
from stages.imagery.image_folder import image_paths

QUALITY = Path("data/quality")
SIDE, LINES, LINE = 160, 5, 14  # pixels of a picture, lines below it, pixels of a line
COLUMNS = 6
STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2em; max-width: 1200px }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 1.2em }
figure { margin: 0 } img, .none { width: 160px; height: 160px; object-fit: cover; background: #ddd; display: block }
figcaption { margin-top: .4em } .reasons { color: #a00 } small { color: #666 }
"""


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
    drawn = dict(image_paths())
    groups = {}
    for name in ("accepted", "rejected"):
        rows = read_jsonl(QUALITY / f"{name}.jsonl")
        groups[f"{len(rows)} {name}"] = [row | {"image": drawn.get(row["id"])} for row in spread(rows, arguments.pairs)]
    if arguments.out.suffix == ".html":
        write_text(arguments.out, page(groups))
    else:
        with replacing(arguments.out) as path:
            picture(groups).save(path, format="PNG")
    print(f"{arguments.out}: {', '.join(f'{len(rows)} of {name}' for name, rows in groups.items())} pairs")


def page(groups: dict[str, list[dict[str, Any]]]) -> str:
    """One HTML page with the images in it."""
    parts = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Pairs</title><style>{STYLE}</style>']
    for name, rows in groups.items():
        parts.append(f"<h2>{html.escape(name)}</h2><section>")
        for row in rows:
            tile = _tile(row["image"])
            if tile is None:
                shown = '<div class="none"></div>'
            else:
                data = io.BytesIO()
                tile.save(data, format="PNG")
                about = html.escape(row["visual_part"] or "")
                shown = f'<img alt="{about}" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'
            seen, heard = html.escape(row["visual_part"] or "-"), html.escape(row["text_part"] or "-")
            reasons = html.escape(", ".join(row.get("reasons", [])))
            parts.append(
                f"<figure>{shown}<figcaption><b>{seen}</b><br>{heard}<br><span class='reasons'>{reasons}</span>"
                f"<br><small>{html.escape(row['id'])}: {html.escape(row['caption'])}</small></figcaption></figure>"
            )
        parts.append("</section>")
    return "\n".join(parts) + "</html>\n"


def picture(groups: dict[str, list[dict[str, Any]]]) -> Image.Image:
    """One image: rows of pictures with their words below."""
    high = SIDE + LINES * LINE + 12
    rows_of = {name: -(-len(rows) // COLUMNS) for name, rows in groups.items()}
    sheet = Image.new("RGB", (COLUMNS * (SIDE + 12), sum(24 + count * high for count in rows_of.values())), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    top = 0
    for name, rows in groups.items():
        pen.text((6, top + 4), name, "black", font)
        for index, row in enumerate(rows):
            left, upper = index % COLUMNS * (SIDE + 12) + 6, top + 24 + index // COLUMNS * high
            tile = _tile(row["image"])
            if tile is None:
                pen.rectangle((left, upper, left + SIDE, upper + SIDE), "lightgrey")
            else:
                sheet.paste(tile, (left, upper))
            words = [row["visual_part"] or "-", row["text_part"] or "-", *row.get("reasons", [])]
            lines = [line for text in words for line in textwrap.wrap(text, 28)][:LINES]
            pen.multiline_text((left, upper + SIDE + 2), "\n".join(lines), "black", font, spacing=1)
        top += 24 + rows_of[name] * high
    return sheet


def _tile(path: str | None) -> Image.Image | None:
    """A picture of SIDE pixels, None where there is none or it cannot be read."""
    if path is None:
        return None
    try:
        return open_image(path).resize((SIDE, SIDE))
    except UnusableImageError:
        return None
