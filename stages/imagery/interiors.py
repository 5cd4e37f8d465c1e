"""How the walls of indoor places are drawn: one pen a pattern, on a square of `side` pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.imagery.colours import darker
from stages.imagery.sheet import FLOOR, Sheet

Pen = Callable[[Sheet], None]


def _plain(_: Sheet) -> None:
    """Leave the wall bare."""


def _window(on: Sheet) -> None:
    _pane(on, 0.36, 0.12, 0.64, 0.42)


def _pane(on: Sheet, left: float, top: float, right: float, bottom: float) -> None:
    box = (left * on.side, top * on.side, right * on.side, bottom * on.side)
    on.draw.rectangle(box, fill="#bfe6f8", outline="#8a5f3b", width=on.side // 50)
    middle, centre = (left + right) / 2 * on.side, (top + bottom) / 2 * on.side
    on.draw.line((middle, box[1], middle, box[3]), fill="#8a5f3b", width=on.side // 80)
    on.draw.line((box[0], centre, box[2], centre), fill="#8a5f3b", width=on.side // 80)


def _tiles(on: Sheet) -> None:
    colour, step = darker(on.place.upper, 0.86), on.side / 10
    for index in range(1, 11):
        on.draw.line((index * step, 0, index * step, FLOOR * on.side), fill=colour, width=on.side // 150)
        if index * step < FLOOR * on.side:
            on.draw.line((0, index * step, on.side, index * step), fill=colour, width=on.side // 150)


def _bricks(on: Sheet) -> None:
    rows = 9
    for row in range(rows):
        top = FLOOR * on.side * row / rows
        for column in range(-1, 7):
            left = (column + 0.5 * (row % 2)) * on.side / 6
            box = (left, top, left + on.side / 6, top + FLOOR * on.side / rows)
            fill = darker(on.place.upper, float(on.rng.uniform(0.88, 1.1)))
            on.draw.rectangle(box, fill=fill, outline=darker(on.place.upper, 0.65), width=on.side // 160)


def _planks(on: Sheet) -> None:
    for column in range(9):
        left = column * on.side / 9
        box = (left, 0, left + on.side / 9, FLOOR * on.side)
        on.draw.rectangle(box, fill=darker(on.place.upper, float(on.rng.uniform(0.88, 1.08))))
        on.draw.line((left, 0, left, FLOOR * on.side), fill=darker(on.place.upper, 0.6), width=on.side // 130)


def _columns(on: Sheet) -> None:
    for x in (0.0, 0.38, 0.86):
        on.draw.rectangle((x * on.side, 0, (x + 0.12) * on.side, FLOOR * on.side), fill=darker(on.place.upper, 0.9))
        on.draw.rectangle((x * on.side, 0, (x + 0.03) * on.side, FLOOR * on.side), fill=darker(on.place.upper, 0.8))
        on.draw.rectangle(
            ((x - 0.02) * on.side, 0.66 * on.side, (x + 0.14) * on.side, FLOOR * on.side),
            fill=darker(on.place.upper, 0.78),
        )
    _pane(on, 0.58, 0.12, 0.8, 0.44)


def _arches(on: Sheet) -> None:
    glass = ("#d9534f", "#f0b33f", "#4f8fd9", "#59a85f", "#9a63c4")
    for x in (0.36, 0.06, 0.68):
        width = 0.28 if x == 0.36 else 0.24
        left, right, top, bottom = x * on.side, (x + width) * on.side, 0.06 * on.side, 0.56 * on.side
        bend = (right - left) / 2
        for index in range(5):
            band = top + bend + (bottom - top - bend) * index / 5
            fill = glass[int(on.rng.integers(len(glass)))]
            on.draw.rectangle((left, band, right, band + (bottom - top) / 5), fill=fill)
        on.draw.pieslice((left, top, right, top + 2 * bend), 180, 360, fill=glass[int(on.rng.integers(len(glass)))])
        on.draw.arc((left, top, right, top + 2 * bend), 180, 360, fill="#5b5346", width=on.side // 60)
        for line in (left, (left + right) / 2, right):
            on.draw.line(
                (line, top + bend * (0.1 if left < line < right else 1), line, bottom),
                fill="#5b5346",
                width=on.side // 60,
            )
        on.draw.line((left, bottom, right, bottom), fill="#5b5346", width=on.side // 60)


def _cave(on: Sheet) -> None:
    for _ in range(40):
        x, y, radius = on.rng.uniform(0, 1), on.rng.uniform(0, FLOOR), on.rng.uniform(0.04, 0.12)
        box = ((x - radius) * on.side, (y - radius) * on.side, (x + radius) * on.side, (y + radius) * on.side)
        on.draw.ellipse(box, fill=darker(on.place.upper, float(on.rng.uniform(0.82, 1.12))))
    on.draw.ellipse((0.55 * on.side, 0.2 * on.side, 0.95 * on.side, 0.95 * on.side), fill="#bfe3f0")
    on.draw.rectangle((0.5 * on.side, FLOOR * on.side, on.side, on.side), fill=on.place.lower)
    for x in (0.08, 0.22, 0.34, 0.47, 0.6, 0.75, 0.9):
        length = float(on.rng.uniform(0.1, 0.24))
        on.draw.polygon(
            [((x - 0.05) * on.side, 0), ((x + 0.05) * on.side, 0), (x * on.side, length * on.side)],
            fill=darker(on.place.upper, 0.7),
        )


def _tunnel(on: Sheet) -> None:
    for index, factor in enumerate((0.95, 0.8, 0.66, 0.52, 0.4, 0.3)):
        inset = index * 0.065
        box = (inset * on.side, (0.02 + inset) * on.side, (1 - inset) * on.side, (1.5 - inset) * on.side)
        on.draw.ellipse(box, fill=darker(on.place.upper, factor))
    on.draw.ellipse((0.42 * on.side, 0.48 * on.side, 0.58 * on.side, 0.9 * on.side), fill="#fdf6d8")
    on.draw.rectangle((0, FLOOR * on.side, on.side, on.side), fill=on.place.lower)
    on.draw.polygon(
        [
            (0.47 * on.side, FLOOR * on.side),
            (0.53 * on.side, FLOOR * on.side),
            (0.62 * on.side, on.side),
            (0.38 * on.side, on.side),
        ],
        fill=darker(on.place.lower, 0.75),
    )


def _turret(on: Sheet) -> None:
    _bricks(on)
    for x in (0.2, 0.74):
        on.draw.rectangle(
            (x * on.side, 0.16 * on.side, (x + 0.07) * on.side, 0.46 * on.side),
            fill="#cfeefc",
            outline="#4f473d",
            width=on.side // 70,
        )
    for x in np.linspace(0, 1, 6):
        on.draw.rectangle(((x - 0.05) * on.side, 0, (x + 0.05) * on.side, 0.07 * on.side), fill="#a9d8f0")


def _beams(on: Sheet) -> None:
    colour = darker(on.place.upper, 0.6)
    on.draw.rectangle((0, 0.06 * on.side, on.side, 0.1 * on.side), fill=colour)
    for x in np.linspace(0, 1, 6):
        on.draw.line((x * on.side, 0.1 * on.side, (x + 0.1) * on.side, 0), fill=colour, width=on.side // 70)
        on.draw.rectangle(
            ((x - 0.01) * on.side, 0.1 * on.side, (x + 0.01) * on.side, FLOOR * on.side),
            fill=darker(on.place.upper, 0.8),
        )
    for x in (0.36, 0.5):
        on.draw.rectangle(
            (x * on.side, 0.2 * on.side, (x + 0.11) * on.side, 0.34 * on.side),
            fill="#d9edf5",
            outline=colour,
            width=on.side // 90,
        )


def _shutter(on: Sheet) -> None:
    on.draw.rectangle(
        (0.16 * on.side, 0.3 * on.side, 0.84 * on.side, FLOOR * on.side), fill=darker(on.place.upper, 0.84)
    )
    for y in np.linspace(0.34, FLOOR - 0.03, 7):
        on.draw.line(
            (0.16 * on.side, y * on.side, 0.84 * on.side, y * on.side),
            fill=darker(on.place.upper, 0.65),
            width=on.side // 110,
        )


def _shelves(on: Sheet) -> None:
    for row in range(3):
        bottom = (0.22 + 0.2 * row) * on.side
        x = 0.03
        while x < 0.95:
            width, height = float(on.rng.uniform(0.025, 0.06)), float(on.rng.uniform(0.09, 0.15))
            hue = int(on.rng.integers(0, 360))
            on.draw.rectangle(
                (x * on.side, bottom - height * on.side, (x + width) * on.side, bottom), fill=f"hsl({hue}, 38%, 52%)"
            )
            x += width + 0.005
        on.draw.rectangle((0, bottom, on.side, bottom + 0.025 * on.side), fill=darker(on.place.upper, 0.55))


def _curtain(on: Sheet) -> None:
    for index, x in enumerate(np.linspace(0, 1, 15)):
        fill = darker(on.place.upper, 1.15 if index % 2 else 0.85)
        on.draw.rectangle((x * on.side, 0, (x + 1 / 14) * on.side, FLOOR * on.side), fill=fill)
    for x in np.linspace(0, 1, 6):
        on.draw.chord(
            ((x - 0.1) * on.side, -0.08 * on.side, (x + 0.1) * on.side, 0.12 * on.side), 0, 180, fill="#c9a227"
        )


def _platform(on: Sheet) -> None:
    _tiles(on)
    on.draw.rectangle((0, 0.44 * on.side, on.side, 0.5 * on.side), fill="#2f6f9f")
    on.draw.rectangle((0, 0.82 * on.side, on.side, 0.85 * on.side), fill="#f2c744")
    on.draw.rectangle((0, 0.9 * on.side, on.side, on.side), fill="#5d5a57")


def _temple(on: Sheet) -> None:
    on.draw.rectangle((0, 0, on.side, 0.1 * on.side), fill="#7d2f28")
    for x in (0.02, 0.33, 0.57, 0.88):
        on.draw.rectangle((x * on.side, 0.1 * on.side, (x + 0.1) * on.side, FLOOR * on.side), fill="#b93a2f")
        on.draw.rectangle((x * on.side, 0.1 * on.side, (x + 0.1) * on.side, 0.15 * on.side), fill="#e8c04a")


INTERIORS: dict[str, Pen] = {
    "plain": _plain,
    "window": _window,
    "tiles": _tiles,
    "bricks": _bricks,
    "planks": _planks,
    "columns": _columns,
    "arches": _arches,
    "cave": _cave,
    "tunnel": _tunnel,
    "turret": _turret,
    "beams": _beams,
    "shutter": _shutter,
    "shelves": _shelves,
    "curtain": _curtain,
    "platform": _platform,
    "temple": _temple,
}
