"""Backgrounds: where a visual part takes place, outdoors with a horizon or indoors with a wall and a floor."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from stages.imagery.colours import mixed, scaled
from stages.imagery.glyphs import picture
from stages.imagery.interiors import INTERIORS
from stages.imagery.landscapes import LANDSCAPES
from stages.imagery.reading import Place
from stages.imagery.sheet import FLOOR, HORIZON, Sheet

MARGIN = 1.12  # backgrounds are drawn larger by this much, so that each image can show another cut-out


def background(place: Place | None, size: int, night: bool, rng: np.random.Generator) -> Image.Image:
    """Draw the scenery as RGB [size, size]: a random cut-out, mirrored or not, slightly toned."""
    if place is None:
        image = _studio(size, rng)
    else:
        whole = _painted(place, round(size * MARGIN))
        spare = whole.width - size
        left, top = (int(rng.integers(0, spare + 1)) for _ in range(2))
        image = whole.crop((left, top, left + size, top + size))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if night:
        image = Image.blend(image, Image.new("RGB", image.size, "#0b1436"), 0.62)
        moon = _fitted(picture("🌙", ()), size // 7)
        image.paste(moon, (size // 12 + int(rng.integers(0, size * 2 // 3)), size // 14), moon)
    return toned(image, rng, 0.05)


def toned(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Multiply red, green and blue by factors within 1 +- `strength`; alpha stays."""
    factors = [*rng.uniform(1 - strength, 1 + strength, 3), 1.0][: len(image.getbands())]
    table = [min(255, round(value * factor)) for factor in factors for value in range(256)]
    return image.point(table)


def _studio(size: int, rng: np.random.Generator) -> Image.Image:
    """A plain pastel backdrop for visual parts that name no place."""
    hue = int(rng.integers(0, 360))
    top = ImageColor.getrgb(f"hsl({hue}, 35%, 90%)")
    bottom = ImageColor.getrgb(f"hsl({hue}, 30%, 80%)")
    return _gradient(size, size, top, bottom)


@lru_cache(maxsize=256)
def _painted(place: Place, size: int) -> Image.Image:
    """Paint a place at twice the size and reduce it, for smooth edges."""
    rng = np.random.default_rng([ord(letter) for letter in place.name])
    side = size * 2
    upper, lower = (ImageColor.getrgb(colour) for colour in (place.upper, place.lower))
    edge = int(side * (FLOOR if place.indoor else HORIZON))
    image = Image.new("RGB", (side, side))
    if place.indoor:
        image.paste(place.upper, (0, 0, side, side))
        image.paste(_gradient(side, side - edge, lower, scaled(lower, 0.85)), (0, edge))
    else:
        image.paste(_gradient(side, edge, upper, mixed(upper, (255, 255, 255), 0.45)), (0, 0))
        image.paste(_gradient(side, side - edge, lower, scaled(lower, 0.85)), (0, edge))
    sheet = Sheet(ImageDraw.Draw(image), place, side, rng)
    if place.indoor:
        INTERIORS[place.pattern](sheet)
        sheet.draw.line((0, edge, side, edge), fill=scaled(lower, 0.5), width=side // 60)
        _hang_features(image, place, side)
    else:
        _stand_features(image, place, side, edge)
        LANDSCAPES[place.pattern](sheet)
    return image.reduce(2)


def _stand_features(image: Image.Image, place: Place, side: int, edge: int) -> None:
    """Set an outdoor place's pictograms on its horizon, small and a little faded by distance."""
    count = len(place.features)
    for index, character in enumerate(place.features):
        feature = _fitted(picture(character, ()), int(side * (0.27 if count < 4 else 0.23)))
        feature.putalpha(feature.getchannel("A").point([value * 4 // 5 for value in range(256)]))
        centre = (index + 0.5) / count
        image.paste(feature, (int(centre * side - feature.width / 2), edge + side // 40 - feature.height), feature)


def _hang_features(image: Image.Image, place: Place, side: int) -> None:
    """Hang an indoor place's pictograms in the upper corners of its wall."""
    spots = ((0.2, 0.24), (0.8, 0.24), (0.5, 0.16))
    for character, (x, y) in zip(place.features, spots, strict=False):
        feature = _fitted(picture(character, ()), int(side * 0.2))
        feature.putalpha(feature.getchannel("A").point([value * 4 // 5 for value in range(256)]))
        image.paste(feature, (int(x * side - feature.width / 2), int(y * side - feature.height / 2)), feature)


def _fitted(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _gradient(width: int, height: int, top: tuple[int, ...], bottom: tuple[int, ...]) -> Image.Image:
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    rows = np.array(top[:3]) * (1 - share) + np.array(bottom[:3]) * share
    pixels = np.broadcast_to(np.rint(rows)[:, None, :], (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels, "RGB")
