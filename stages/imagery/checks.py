"""What is wrong with an image: reason codes for quality control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stages.formats.shards import open_file


def image_problems(path: Path, min_size: int, min_deviation: float) -> list[str]:
    """Return the reason codes of one image, [] where it is fit.

    `image_missing`: no such file. `image_undecodable`: no whole image can be read from it. `image_too_small`: its
    shorter side has fewer than `min_size` pixels. `image_blank`: its grey levels (0 to 255, transparent parts on
    white) deviate by less than `min_deviation`.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return ["image_missing"]
    try:
        with file, Image.open(file) as image:
            image.verify()  # checksums: decoding alone lets a damaged end pass
        with open_file(path) as file, Image.open(file) as image:
            pixels = image.convert("RGBA")
    # Pillow's readers raise many kinds of errors on damaged files (OSError, SyntaxError, ValueError, struct.error ...).
    except Exception:
        return ["image_undecodable"]
    problems = []
    if min(pixels.size) < min_size:
        problems.append("image_too_small")
    white = Image.new("RGBA", pixels.size, "white")
    grey = np.asarray(Image.alpha_composite(white, pixels).convert("L"), dtype=np.float64)
    if grey.std() < min_deviation:
        problems.append("image_blank")
    return problems
