"""Pairs with their images on one page or one picture, which holds its images and fetches nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from stages.formats.images import UnusableImageError, open_image
from stages.report.pages import image_uri, page

Groups = Mapping[str, Sequence[Mapping[str, Any]]]  # rows by their heading; `image` is a path, None where there is none

SIDE, LINES, LINE = 160, 6, 14  # pixels of a picture, lines below it, pixels of a line
COLUMNS = 6


def contact_page(groups: Groups) -> str:
    """One HTML page with the images in it."""

    def picture(row: Mapping[str, Any]) -> str | None:
        tile = _tile(row["image"])
        return None if tile is None else image_uri(tile, "PNG")

    return page("contact_sheet.html", groups=groups, picture=picture)


def contact_picture(groups: Groups) -> Image.Image:
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
            tile = _tile(row["image"]) or Image.new("RGB", (SIDE, SIDE), "lightgrey")
            sheet.paste(tile, (left, upper))
            words = [*row.get("reasons", []), row["visual_part"], row["text_part"]]
            words += [row["caption"]] if "reasons" in row else []
            lines = [line for text in filter(None, words) for line in textwrap.wrap(text, 28)][:LINES]
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
