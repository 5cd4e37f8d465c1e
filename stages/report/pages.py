"""Pages that hold everything they show and ask nothing of the network: templates, and files as data URIs.

What comes from data enters a page as text: Jinja2 escapes it, in Markdown `plain_markdown` does.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

TEMPLATES = Path(__file__).parent


def page(template: str, **values: Any) -> str:
    """Fill `template`, a file of this folder; a value that it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def plain_markdown(text: object) -> str:
    """A value as Markdown that shows it as it is, also in a cell of a table."""
    return re.sub(r"([\\`*_|\[\]<>&])", r"\\\1", " ".join(str(text).split()))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def verbatim(name: str) -> Markup:
    """A style sheet or script of this folder, which enters a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8").strip())  # noqa: S704 - a file of this folder


def image_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """An image as a data URI; `options` are those of Pillow's writer of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return data_uri(f"image/{kind.lower()}", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Bytes of a media type as an address that needs no fetching."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
