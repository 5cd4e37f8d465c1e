"""What is wrong with an image: reason codes for quality control."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageStat

from stages.formats.images import UnusableImageError, open_image


def image_problems(path: Path, min_size: int, min_deviation: float) -> list[str]:
    """Return the reason codes of one image, [] where it is fit.

    The reason of `open_image` where it cannot be used; else `image_too_small`: its shorter side has fewer than
    `min_size` pixels, and `image_blank`: its grey levels (0 to 255) deviate by less than `min_deviation`.
    """
    try:
        image = open_image(path)
    except UnusableImageError as error:
        return [error.reason]
    problems = []
    if min(image.size) < min_size:
        problems.append("image_too_small")
    if deviation(image) < min_deviation:
        problems.append("image_blank")
    return problems


def deviation(image: Image.Image) -> float:
    """Standard deviation of an image's grey levels, 0 to 255: 0 where it is of one colour."""
    return float(ImageStat.Stat(image.convert("L")).stddev[0])
