"""How the ground of outdoor places is drawn: one pen a pattern, on a square of `side` pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.imagery.colours import darker
from stages.imagery.sheet import HORIZON, Sheet

Pen = Callable[[Sheet], None]


def _plain(_: Sheet) -> None:
    """Leave the two colours as they are."""


def _grass(on: Sheet) -> None:
    high = 0.16 if on.place.pattern == "tall_grass" else 0.03
    for _ in range(170 if on.place.pattern == "tall_grass" else 90):
        x, y = on.rng.uniform(0, on.side), on.rng.uniform(HORIZON + 0.01, 1.02) * on.side
        tip = (x + on.rng.uniform(-0.02, 0.02) * on.side, y - high * on.side * on.rng.uniform(0.7, 1.3))
        on.draw.line((x, y, *tip), fill=darker(on.place.lower, float(on.rng.uniform(0.65, 0.9))), width=on.side // 110)


def _furrows(on: Sheet) -> None:
    for x in np.linspace(-1.2, 2.2, 18):
        on.draw.line(
            (on.side * 0.5 + (x - 0.5) * on.side * 0.25, HORIZON * on.side, x * on.side, on.side),
            fill=darker(on.place.lower, 0.78),
            width=on.side // 70,
        )


def _hills(on: Sheet) -> None:
    for x, y, factor in ((-0.3, 0.5, 0.92), (0.4, 0.54, 1.04)):
        on.draw.ellipse(
            (x * on.side, y * on.side, (x + 1.1) * on.side, (y + 0.9) * on.side), fill=darker(on.place.lower, factor)
        )


def _hill(on: Sheet) -> None:
    on.draw.ellipse((-0.15 * on.side, 0.34 * on.side, 1.15 * on.side, 1.9 * on.side), fill=on.place.lower)
    _grass(on)


def _water(on: Sheet) -> None:
    for _ in range(34):
        x, y = on.rng.uniform(-0.05, 1), on.rng.uniform(HORIZON + 0.03, 0.98)
        box = (x * on.side, y * on.side, (x + 0.11) * on.side, (y + 0.03) * on.side)
        on.draw.arc(box, 190, 350, fill=darker(on.place.lower, 1.3), width=on.side // 90)


def _shore(on: Sheet) -> None:
    on.draw.rectangle((0, HORIZON * on.side, on.side, 0.68 * on.side), fill="#3f9ad0")
    for x in np.linspace(0, 1, 9):
        on.draw.ellipse(((x - 0.08) * on.side, 0.65 * on.side, (x + 0.08) * on.side, 0.71 * on.side), fill="#f4fbff")
    on.draw.rectangle((0, 0.69 * on.side, on.side, on.side), fill=on.place.lower)
    _dots(on, 0.72)


def _sand(on: Sheet) -> None:
    _dots(on, HORIZON + 0.02)


def _dots(on: Sheet, top: float) -> None:
    for _ in range(120):
        x, y, radius = on.rng.uniform(0, on.side), on.rng.uniform(top, 1) * on.side, on.side / 180
        on.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=darker(on.place.lower, 0.8))


def _snow(on: Sheet) -> None:
    for _ in range(70):
        x, y, radius = on.rng.uniform(0, on.side), on.rng.uniform(0, on.side), on.side / on.rng.uniform(60, 120)
        on.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#ffffff")


def _road(on: Sheet) -> None:
    on.draw.rectangle((0, HORIZON * on.side, on.side, 0.64 * on.side), fill="#b9b4aa")
    on.draw.line((0, 0.64 * on.side, on.side, 0.64 * on.side), fill="#8a867e", width=on.side // 70)
    for x in np.linspace(0, 1, 6):
        on.draw.rectangle((x * on.side, 0.81 * on.side, (x + 0.11) * on.side, 0.835 * on.side), fill="#f6efcf")


def _rails(on: Sheet) -> None:
    for x in np.linspace(-0.02, 1, 11):
        on.draw.rectangle((x * on.side, 0.74 * on.side, (x + 0.045) * on.side, 0.94 * on.side), fill="#6d4a2e")
    for y in (0.78, 0.88):
        on.draw.rectangle((0, y * on.side, on.side, (y + 0.022) * on.side), fill="#8e9499")


def _paving(on: Sheet) -> None:
    colour, edge = darker(on.place.lower, 0.78), HORIZON * on.side
    for y in (0.62, 0.7, 0.8, 0.92):
        on.draw.line((0, y * on.side, on.side, y * on.side), fill=colour, width=on.side // 110)
    for x in np.linspace(-1, 2, 16):
        on.draw.line(
            (on.side * 0.5 + (x - 0.5) * on.side * 0.45, edge, x * on.side, on.side), fill=colour, width=on.side // 110
        )


def _path(on: Sheet) -> None:
    _grass(on)
    on.draw.polygon(
        [
            (0.46 * on.side, HORIZON * on.side),
            (0.54 * on.side, HORIZON * on.side),
            (0.85 * on.side, on.side),
            (0.2 * on.side, on.side),
        ],
        fill="#e0cda0",
    )


def _river(on: Sheet) -> None:
    on.draw.rectangle((0, HORIZON * on.side, on.side, on.side), fill="#83bf63")
    on.draw.polygon(
        [
            (0.4 * on.side, HORIZON * on.side),
            (0.55 * on.side, HORIZON * on.side),
            (1.02 * on.side, 0.84 * on.side),
            (0.9 * on.side, on.side),
            (-0.02 * on.side, on.side),
            (0.1 * on.side, 0.78 * on.side),
        ],
        fill=on.place.lower,
    )
    for _ in range(12):
        x, y = on.rng.uniform(0.2, 0.75), on.rng.uniform(0.72, 0.97)
        on.draw.arc(
            (x * on.side, y * on.side, (x + 0.1) * on.side, (y + 0.03) * on.side),
            190,
            350,
            fill="#d6f0fb",
            width=on.side // 90,
        )


def _pond(on: Sheet) -> None:
    on.draw.rectangle((0, HORIZON * on.side, on.side, on.side), fill="#7fae5e")
    _grass(on)
    on.draw.ellipse(
        (0.04 * on.side, 0.64 * on.side, 0.96 * on.side, 0.98 * on.side),
        fill=on.place.lower,
        outline="#4d7f66",
        width=on.side // 80,
    )
    for x, y in ((0.2, 0.75), (0.68, 0.86), (0.72, 0.7)):
        on.draw.chord((x * on.side, y * on.side, (x + 0.14) * on.side, (y + 0.05) * on.side), 20, 340, fill="#4f9a4a")


def _cliff(on: Sheet) -> None:
    _water(on)
    points = [(0, 0.2), (0.3, 0.2), (0.34, 0.4), (0.3, 0.55), (0.38, 0.8), (0.34, 1), (0, 1)]
    on.draw.polygon(
        [(x * on.side, y * on.side) for x, y in points], fill="#8d8377", outline="#5d564e", width=on.side // 90
    )
    on.draw.polygon(
        [(0, 0.2 * on.side), (0.3 * on.side, 0.2 * on.side), (0.31 * on.side, 0.26 * on.side), (0, 0.27 * on.side)],
        fill="#79b557",
    )


def _town(on: Sheet) -> None:
    for x in np.linspace(0, 0.9, 7):
        top = float(on.rng.uniform(0.4, 0.55))
        on.draw.rectangle(
            (x * on.side, top * on.side, (x + 0.12) * on.side, 0.62 * on.side), fill=darker(on.place.lower, 0.8)
        )


LANDSCAPES: dict[str, Pen] = {
    "plain": _plain,
    "grass": _grass,
    "tall_grass": _grass,
    "furrows": _furrows,
    "hills": _hills,
    "hill": _hill,
    "water": _water,
    "shore": _shore,
    "sand": _sand,
    "snow": _snow,
    "road": _road,
    "rails": _rails,
    "paving": _paving,
    "path": _path,
    "river": _river,
    "pond": _pond,
    "cliff": _cliff,
    "town": _town,
}
