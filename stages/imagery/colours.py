"""Colour arithmetic that landscapes, interiors and backgrounds share."""

from __future__ import annotations

from PIL import ImageColor


def scaled(colour: tuple[int, ...], factor: float) -> tuple[int, int, int]:
    """Multiply red, green and blue, at most 255."""
    red, green, blue = (min(255, round(value * factor)) for value in colour[:3])
    return red, green, blue


def darker(colour: str, factor: float) -> tuple[int, int, int]:
    """Multiply a "#rrggbb" colour; factors above 1 lighten."""
    return scaled(ImageColor.getrgb(colour), factor)


def mixed(colour: tuple[int, ...], other: tuple[int, ...], share: float) -> tuple[int, int, int]:
    """Go from `colour` towards `other` by `share`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour[:3], other[:3], strict=True))
    return red, green, blue
