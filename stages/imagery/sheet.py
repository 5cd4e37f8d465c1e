"""The square on which a background is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from stages.imagery.reading import Place

HORIZON = 0.56  # where outdoor ground begins, as share of the height
FLOOR = 0.72  # where indoor walls end


@dataclass(frozen=True)
class Sheet:
    """What a pen of `landscapes` or `interiors` gets: the square of `side` pixels, the place, its own randomness."""

    draw: ImageDraw.ImageDraw
    place: Place
    side: int
    rng: np.random.Generator
