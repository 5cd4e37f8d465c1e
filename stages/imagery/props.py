"""Drawn props for what OpenMoji lacks and things stand on: stairs, a roof, a fence, a branch."""

from __future__ import annotations

from PIL import Image, ImageDraw

OUTLINE = "#1b1b1b"
Point = tuple[float, float]


def draw_prop(name: str, width: int) -> Image.Image:
    """Draw a prop from `PROPS` in OpenMoji's manner, flat colours and dark outlines, as RGBA `width` pixels wide."""
    ratio, shapes = PROPS[name]
    height = int(width * ratio)
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for colour, points in shapes:
        scaled = [(x * (width - 1), y * (height - 1)) for x, y in points]
        draw.polygon(scaled, fill=colour, outline=OUTLINE, width=7)
    return image


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


# Things on which others stand: height over width, and polygons in shares of width and height.
PROPS: dict[str, tuple[float, list[tuple[str, list[Point]]]]] = {
    "stairs": (0.6, [("#c9a678", _box(0.25 * step, 0.75 - 0.25 * step, 1, 1 - 0.25 * step)) for step in range(4)]),
    "roof": (
        0.55,
        [("#f3ead8", _box(0.12, 0.6, 0.88, 1)), ("#c8553d", [(0, 0.7), (0.2, 0), (0.8, 0), (1, 0.7)])]
        + [
            ("#c8553d", [(x - 0.005, 0.02), (x + 0.005, 0.02), (x + 0.005, 0.68), (x - 0.005, 0.68)])
            for x in (0.3, 0.5, 0.7)
        ],
    ),
    "fence": (
        0.5,
        [("#e3c08d", _box(0, 0.35, 1, 0.48)), ("#e3c08d", _box(0, 0.7, 1, 0.83))]
        + [
            ("#e9cb9d", [(x, 0.15), (x + 0.07, 0), (x + 0.14, 0.15), (x + 0.14, 1), (x, 1)])
            for x in (0.02, 0.225, 0.43, 0.635, 0.84)
        ],
    ),
    "wall": (
        0.45,
        [
            ("#c98a6b", _box(max(0, x), row / 4, min(1, x + 0.25), (row + 1) / 4))
            for row in range(4)
            for x in ((0, 0.25, 0.5, 0.75) if row % 2 else (-0.125, 0.125, 0.375, 0.625, 0.875))
        ],
    ),
    "branch": (
        0.4,
        [("#8a5a33", [(0, 0.35), (0.5, 0.28), (1, 0.1), (1, 0.2), (0.5, 0.45), (0, 0.6)])]
        + [
            ("#6fb04a", [(x, y), (x + 0.06, y - 0.16), (x + 0.15, y - 0.18), (x + 0.1, y)])
            for x, y in ((0.1, 0.34), (0.62, 0.28), (0.8, 0.2))
        ]
        + [
            ("#5a9a3c", [(x, y), (x + 0.04, y + 0.3), (x + 0.12, y + 0.36), (x + 0.11, y + 0.1)])
            for x, y in ((0.25, 0.52), (0.7, 0.36))
        ],
    ),
    "leaf": (
        0.4,
        [
            ("#57a844", [(0, 0.55), (0.2, 0.15), (0.5, 0), (0.8, 0.12), (1, 0.5), (0.8, 0.85), (0.5, 1), (0.2, 0.9)]),
            ("#2f7a2b", [(0, 0.54), (1, 0.48), (1, 0.52), (0, 0.57)]),
        ],
    ),
    "bridge": (
        0.4,
        [
            (
                "#b9b3a6",
                [
                    (0, 0.2),
                    (1, 0.2),
                    (1, 1),
                    (0.9, 1),
                    (0.8, 0.55),
                    (0.6, 0.5),
                    (0.5, 1),
                    (0.4, 0.5),
                    (0.2, 0.55),
                    (0.1, 1),
                    (0, 1),
                ],
            ),
            ("#d6d0c2", _box(0, 0.05, 1, 0.3)),
        ],
    ),
    "deck": (
        0.42,
        [("#f4f4f0", _box(0.06, 0.05, 0.94, 0.3)), ("#a9502f", [(0, 0.25), (1, 0.25), (0.86, 1), (0.12, 1)])],
    ),
    "railing": (
        0.45,
        [("#7b7f86", _box(x, 0.1, x + 0.04, 0.85)) for x in (0.04, 0.2, 0.36, 0.52, 0.68, 0.84)]
        + [("#5f636a", _box(0, 0, 1, 0.12)), ("#d8c9b0", _box(0, 0.82, 1, 1))],
    ),
}
