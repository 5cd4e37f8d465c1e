"""Backgrounds: where a visual part takes place, outdoors with a horizon or indoors with walls and a floor.

They are pale and simple, so that what stands in front is what one sees; outdoors has a sky, indoors a ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from stages.imagery.glyphs import picture
from stages.imagery.visual_part import Scenery

MARGIN = 1.08  # backgrounds are drawn larger by this much, so that each image can show another cut-out
HORIZON = 0.58  # where outdoor ground begins, as share of the height
FLOOR = 0.74  # where indoor walls end
FRAME = 0.15  # width of a room's ceiling and side walls
PALE = 0.3  # how far backgrounds are faded to white
FEATURE_ALPHA = 0.45

Colour = tuple[int, ...]
Point = tuple[float, float]


def background(scenery: Scenery | None, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw the scenery as RGB [size, size]: a random cut-out, mirrored or not, slightly toned."""
    if scenery is None:
        hue = int(rng.integers(0, 360))  # a plain pastel backdrop for visual parts that name no place
        image = _gradient(size, size, *(ImageColor.getrgb(f"hsl({hue}, 30%, {light}%)") for light in (90, 80)))
    else:
        whole = _painted(scenery, round(size * MARGIN))
        left, top = (int(rng.integers(0, whole.width - size + 1)) for _ in range(2))
        image = whole.crop((left, top, left + size, top + size))
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return toned(image, rng, 0.05)


def toned(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Multiply red, green and blue by factors within 1 +- `strength`; alpha stays."""
    factors = [*rng.uniform(1 - strength, 1 + strength, 3), 1.0][: len(image.getbands())]
    return image.point([min(255, round(value * factor)) for factor in factors for value in range(256)])


class Pen:
    """Draws flat shapes, in shares of a square's side; `wall` and `ground` are the scenery's two colours."""

    def __init__(self, image: Image.Image, wall: Colour, ground: Colour, rng: np.random.Generator) -> None:
        """Draw on an RGB image."""
        self.wall, self.ground, self.rng, self._side = wall, ground, rng, image.width
        self._draw = ImageDraw.Draw(image)

    def shape(self, points: Sequence[Point], fill: Colour | str) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour | str) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([edge * self._side for edge in (left, top, right, bottom)], fill)

    def oval(self, x: float, y: float, across: float, down: float, fill: Colour | str) -> None:
        """Fill an ellipse about its centre."""
        edges = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
        self._draw.ellipse([edge * self._side for edge in edges], fill)

    def line(self, start: Point, end: Point, fill: Colour | str) -> None:
        """Draw a line."""
        self._draw.line([share * self._side for share in (*start, *end)], fill, self._side // 80)

    def scattered(self, count: int, top: float) -> list[Point]:
        """Random spots between `top` and the lower edge."""
        return [(self.rng.uniform(0, 1), self.rng.uniform(top, 1)) for _ in range(count)]


def _grass(pen: Pen) -> None:
    for x, y in pen.scattered(40, HORIZON + 0.04):
        pen.line((x, y), (x + 0.01, y - 0.04), _shade(pen.ground, 0.8))


def _furrows(pen: Pen) -> None:
    for x in np.linspace(-1.2, 2.2, 14):
        pen.line((0.5 + (x - 0.5) * 0.25, HORIZON), (x, 1), _shade(pen.ground, 0.78))


def _hills(pen: Pen) -> None:
    for x, factor in ((0.2, 0.86), (0.85, 1.08)):
        pen.oval(x, 0.95, 1.1, 1, _shade(pen.ground, factor))


def _water(pen: Pen) -> None:
    for x, y in pen.scattered(16, HORIZON + 0.03):
        pen.line((x, y), (x + 0.09, y), _shade(pen.ground, 1.3))


def _shore(pen: Pen) -> None:
    pen.box(0, HORIZON, 1, 0.68, "#3f9ad0")
    pen.box(0, 0.68, 1, 0.7, "#f4fbff")
    _dots(pen)


def _dots(pen: Pen) -> None:
    for x, y in pen.scattered(60, 0.72):
        pen.oval(x, y, 0.012, 0.012, _shade(pen.ground, 0.8))


def _snow(pen: Pen) -> None:
    for x, y in pen.scattered(60, 0):
        pen.oval(x, y, 0.025, 0.025, "#ffffff")


def _road(pen: Pen) -> None:
    pen.box(0, HORIZON, 1, 0.64, "#b9b4aa")
    for x in np.arange(0, 1, 0.2):
        pen.box(x, 0.8, x + 0.11, 0.83, "#f6efcf")


def _rails(pen: Pen) -> None:
    for x in np.arange(0, 1, 0.1):
        pen.box(x, 0.74, x + 0.04, 0.94, "#6d4a2e")
    for y in (0.78, 0.88):
        pen.box(0, y, 1, y + 0.02, "#8e9499")


def _paving(pen: Pen) -> None:
    for y in (0.64, 0.72, 0.82, 0.94):
        pen.line((0, y), (1, y), _shade(pen.ground, 0.8))
    _furrows(pen)


def _path(pen: Pen) -> None:
    pen.shape([(0.46, HORIZON), (0.54, HORIZON), (0.85, 1), (0.2, 1)], "#e0cda0")


def _river(pen: Pen) -> None:
    pen.box(0, HORIZON, 1, 1, "#83bf63")
    pen.shape([(0.4, HORIZON), (0.55, HORIZON), (1.02, 0.8), (1.02, 1), (-0.02, 1), (0.1, 0.78)], pen.ground)


def _pond(pen: Pen) -> None:
    pen.box(0, HORIZON, 1, 1, "#9bbf6f")
    pen.oval(0.5, 0.8, 0.95, 0.34, pen.ground)


def _cliff(pen: Pen) -> None:
    _water(pen)
    pen.shape([(0, 0.2), (0.3, 0.2), (0.36, 0.5), (0.34, 1), (0, 1)], "#8d8377")
    pen.box(0, 0.18, 0.31, 0.24, "#79b557")


def _town(pen: Pen) -> None:
    for x in np.arange(0, 1, 0.15):
        pen.box(x, pen.rng.uniform(0.4, 0.55), x + 0.12, HORIZON + 0.04, _shade(pen.ground, 0.8))


def _window(pen: Pen) -> None:
    for box, fill in (((0.36, 0.22, 0.64, 0.52), "#8a5f3b"), ((0.38, 0.24, 0.62, 0.5), "#e6f3f8")):
        pen.box(*box, fill)
    pen.box(0.49, 0.22, 0.51, 0.52, "#8a5f3b")


def _tiles(pen: Pen) -> None:
    for step in np.arange(0.1, 1, 0.1):
        pen.line((step, 0), (step, FLOOR), _shade(pen.wall, 0.88))
        pen.line((0, step * FLOOR), (1, step * FLOOR), _shade(pen.wall, 0.88))


def _bricks(pen: Pen) -> None:
    for row, y in enumerate(np.arange(0, FLOOR, 0.1)):
        pen.line((0, y), (1, y), _shade(pen.wall, 0.75))
        for x in np.arange(row % 2 * 0.1, 1, 0.2):
            pen.line((x, y), (x, y + 0.1), _shade(pen.wall, 0.75))


def _planks(pen: Pen) -> None:
    for x in np.arange(0, 1, 0.125):
        pen.box(x, 0, x + 0.12, FLOOR, _shade(pen.wall, pen.rng.uniform(0.9, 1.05)))


def _columns(pen: Pen) -> None:
    for x in (0.2, 0.44, 0.68):
        pen.box(x, FRAME, x + 0.12, FLOOR, _shade(pen.wall, 0.87))
        pen.box(x - 0.02, 0.66, x + 0.14, FLOOR, _shade(pen.wall, 0.75))


def _arches(pen: Pen) -> None:
    for x, colour in ((0.28, "#d9534f"), (0.5, "#4f8fd9"), (0.72, "#59a85f")):
        pen.oval(x, 0.3, 0.16, 0.16, colour)
        pen.box(x - 0.08, 0.3, x + 0.08, 0.6, colour)
        pen.box(x - 0.08, 0.42, x + 0.08, 0.48, "#f0b33f")


def _cave(pen: Pen) -> None:
    for x in np.arange(0.05, 1, 0.13):
        pen.shape([(x - 0.07, 0), (x + 0.07, 0), (x, pen.rng.uniform(0.2, 0.36))], _shade(pen.wall, 0.6))
    for x, y in pen.scattered(12, 0):
        pen.oval(x, y * FLOOR, 0.12, 0.1, _shade(pen.wall, pen.rng.uniform(0.8, 1.15)))


def _tunnel(pen: Pen) -> None:
    for index, factor in enumerate((0.95, 0.8, 0.66, 0.52)):
        pen.oval(0.5, FLOOR, 1 - 0.2 * index, 1.4 - 0.28 * index, _shade(pen.wall, factor))
    pen.box(0, FLOOR, 1, 1, pen.ground)


def _shelves(pen: Pen) -> None:
    for bottom in (0.3, 0.5, 0.7):
        for x in np.arange(0.03, 0.95, 0.06):
            colour = ImageColor.getrgb(f"hsl({pen.rng.integers(0, 360)}, 30%, 60%)")
            pen.box(x, bottom - pen.rng.uniform(0.09, 0.15), x + 0.05, bottom, colour)
        pen.box(0, bottom, 1, bottom + 0.025, _shade(pen.wall, 0.6))


PATTERNS: dict[str, Callable[[Pen], None] | None] = {
    **{"plain": None, "grass": _grass, "furrows": _furrows, "hills": _hills, "water": _water, "shore": _shore},
    **{"sand": _dots, "snow": _snow, "road": _road, "rails": _rails, "paving": _paving, "path": _path},
    **{"river": _river, "pond": _pond, "cliff": _cliff, "town": _town, "window": _window, "tiles": _tiles},
    **{"bricks": _bricks, "planks": _planks, "columns": _columns, "arches": _arches, "cave": _cave},
    **{"tunnel": _tunnel, "shelves": _shelves},
}


@lru_cache(maxsize=256)
def _painted(scenery: Scenery, size: int) -> Image.Image:
    """Paint a scenery at twice the size and reduce it, for smooth edges."""
    side = size * 2
    upper, lower = (ImageColor.getrgb(colour) for colour in (scenery.upper, scenery.lower))
    edge = round(side * (FLOOR if scenery.indoor else HORIZON))
    image = _gradient(side, side, upper, upper if scenery.indoor else _shade(upper, 1.25))
    image.paste(_gradient(side, side - edge, lower, _shade(lower, 0.85)), (0, edge))
    pen = Pen(image, upper, lower, np.random.default_rng([ord(letter) for letter in scenery.name]))
    pattern = PATTERNS[scenery.pattern]
    if pattern is not None:
        pattern(pen)
    if scenery.indoor and scenery.pattern not in ("cave", "tunnel"):
        _close_room(pen)
    count = len(scenery.features)
    for index, character in enumerate(scenery.features):
        feature = picture(character, ())
        scale = side * (0.2 if count < 4 else 0.17) / max(feature.size)
        feature = feature.resize((max(1, round(feature.width * scale)), max(1, round(feature.height * scale))))
        feature.putalpha(feature.getchannel("A").point([round(value * FEATURE_ALPHA) for value in range(256)]))
        left = round((index + 0.5) / count * side - feature.width / 2)
        image.paste(feature, (left, round(side * 0.22) if scenery.indoor else edge - feature.height), feature)
    return Image.blend(image, Image.new("RGB", image.size, "white"), PALE).reduce(2)


def _close_room(pen: Pen) -> None:
    """Draw the ceiling and the side walls of a room, which no outdoor scenery has."""
    far, corner = 1 - FRAME, (FLOOR - FRAME) * 0.25 + FLOOR
    pen.shape([(0, 0), (FRAME, FRAME), (FRAME, FLOOR), (0, corner)], _shade(pen.wall, 0.7))
    pen.shape([(1, 0), (far, FRAME), (far, FLOOR), (1, corner)], _shade(pen.wall, 0.7))
    pen.shape([(0, 0), (1, 0), (far, FRAME), (FRAME, FRAME)], _shade(pen.wall, 0.82))


def _shade(colour: Colour, factor: float) -> Colour:
    """Multiply red, green and blue; factors above 1 lighten."""
    return tuple(min(255, round(value * factor)) for value in colour[:3])


def _gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    share = np.linspace(0, 1, height)[:, None]
    rows = np.array(top[:3]) * (1 - share) + np.array(bottom[:3]) * share
    return Image.fromarray(np.repeat(np.rint(rows)[:, None, :].astype(np.uint8), width, axis=1))
