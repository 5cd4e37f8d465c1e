"""The illustrator that needs no weights: draws a visual part from OpenMoji pictograms (CC BY-SA 4.0).

What is said of a thing is shown: its size as its drawn size, its material as tint and texture, how many there are,
and where it is as scenery. Images of equal visual parts differ in place, tilt, tone and cut-out, as photographs would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stages.imagery.glyphs import picture, word_card
from stages.imagery.scenery import background, toned
from stages.imagery.visual_part import Scene, Thing, parse, pictogram_name

# Longer side of a lone thing, of the image's side: a small one still covers three patches of a vision tower.
SIZE_SHARES = {"small": 0.44, "normal": 0.62, "large": 0.88}
SUPPORT_SHARES = {"small": 0.6, "normal": 0.8, "large": 1.0}
SUPPORT_ALPHA = 0.55  # of a support of which nothing is said
CROWDING = {1: 1.0, 2: 0.8, 3: 0.68, 4: 0.58}  # by how many things share a row
MOST_COPIES = 8
GROUND = 0.95  # where things stand, as share of the height
SUPPORT_TOP = 0.64


@dataclass(frozen=True)
class Illustration:
    """An RGB image, the names of the pictograms in it, and the nouns drawn as words for want of one."""

    image: Image.Image
    drawn: list[str]
    missing: list[str]


def illustrate(visual_part: str, item: str, seed: int, size: int) -> Illustration:
    """Draw a visual part in English, "a small brass bell in a church", `size` pixels a side.

    The `item`'s id and the stage's `seed` decide everything random. Raises ValueError where there are no words.
    """
    scene = parse(visual_part)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{item}".encode()).digest()[:8], "big"))
    canvas = background(scene.scenery, size, rng).convert("RGBA")
    ground = GROUND
    if scene.support is not None:
        ground = _draw_support(canvas, scene.support, scene.inside, rng)
    counts = [thing.count for thing in scene.things]
    while sum(counts) > max(MOST_COPIES, len(counts)):
        counts[counts.index(max(counts))] -= 1
    copies = [thing for thing, count in zip(scene.things, counts, strict=True) for _ in range(count)]
    if len(copies) > 3 and any(thing.pictogram for thing in copies):  # in two rows
        half = len(copies) // 2
        _draw_row(canvas, copies[:half], scene, ground - 0.33, rng)
        copies = copies[half:]
    if copies:
        _draw_row(canvas, copies, scene, ground, rng)
    pictured = [thing for thing in (*scene.things, scene.support) if thing is not None]
    drawn = [pictogram_name(thing.pictogram) for thing in pictured if thing.pictogram is not None]
    return Illustration(canvas.convert("RGB"), drawn, scene.missing)


def _draw_support(canvas: Image.Image, support: Thing, inside: bool, rng: np.random.Generator) -> float:
    """Draw what the things stand on (or are in); return the height at which they stand, as share of the image."""
    assert support.pictogram is not None
    side = canvas.width
    wide = SUPPORT_SHARES[support.size] * side * 0.75 ** (support.count - 1)
    for index in range(support.count):
        sprite = _sprite(picture(support.pictogram, support.materials), wide, rng, 0)
        if support.size == "normal" and not support.materials:
            sprite.putalpha(sprite.getchannel("A").point([round(value * SUPPORT_ALPHA) for value in range(256)]))
        left = side * (index + 0.5) / support.count - sprite.width / 2
        top = side * 0.98 - sprite.height if inside else min(side * SUPPORT_TOP, side - sprite.height)
        _paste(canvas, sprite, left, top)
    return 0.7 if inside else SUPPORT_TOP + 0.05


def _draw_row(canvas: Image.Image, row: list[Thing], scene: Scene, ground: float, rng: np.random.Generator) -> None:
    side = canvas.width
    crowding = CROWDING.get(len(row), 0.5)
    sprites = []
    for thing in row:
        if thing.pictogram:
            source = picture(thing.pictogram, thing.materials)
            longest = SIZE_SHARES[thing.size] * crowding * side * rng.uniform(0.95, 1.05)
            longest = min(longest, 0.94 * max(ground, 0.45) * side)
        else:
            source = word_card(thing.noun)
            longest = min(0.0016 * source.width, 0.92 / len(row)) * side
        sprites.append(_sprite(source, longest, rng, 4))
    total = sum(sprite.width for sprite in sprites)
    # Small things keep a distance and large ones may overlap, so that they look as large as they are said to be.
    gap = max((side * 0.96 - total) / (len(sprites) + 1), -0.3 * total / len(sprites))
    extent = total + gap * (len(sprites) - 1)
    if extent > side * 0.98:
        shrink = side * 0.98 / extent
        sprites = [sprite.resize((round(sprite.width * shrink), round(sprite.height * shrink))) for sprite in sprites]
        extent, gap = side * 0.98, gap * shrink
    left = (side - extent) / 2
    if len(sprites) == 1:
        left += rng.uniform(-0.17, 0.17) * (side - extent)
    for thing, sprite in zip(row, sprites, strict=True):
        perches = thing.where == "air" and scene.support is not None and not scene.inside
        flies = thing.where != "ground" and not perches
        room = max(0.0, ground - sprite.height / side - 0.04)
        top = (ground - rng.uniform(-0.02, 0.03) - (0.5 * room if flies else 0)) * side - sprite.height
        if not flies:
            _shadow(canvas, sprite.size, left, top)
        _paste(canvas, sprite, left, top)
        left += sprite.width + gap


def _sprite(source: Image.Image, longest: float, rng: np.random.Generator, tilt: float) -> Image.Image:
    """Scale a picture so that its longer side is `longest` pixels, tilt it by up to `tilt` degrees, tone it."""
    scale = longest / max(source.size)
    extent = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    sprite = source.resize(extent, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if tilt:
        sprite = sprite.rotate(rng.uniform(-tilt, tilt), Image.Resampling.BICUBIC, expand=True)
    return toned(sprite, rng, 0.06)


def _shadow(canvas: Image.Image, size: tuple[int, int], left: float, top: float) -> None:
    """A soft shadow under the feet of a sprite."""
    wide, high = size[0], max(4, size[0] // 8)
    ellipse = Image.new("L", (wide + 12, high + 12))
    ImageDraw.Draw(ellipse).ellipse((6, 6, wide + 5, high + 5), fill=80)
    spot = (round(left) - 6, round(top) + size[1] - high // 2 - 8)
    canvas.paste((20, 20, 30, 255), spot, ellipse.filter(ImageFilter.GaussianBlur(3)))


def _paste(canvas: Image.Image, sprite: Image.Image, left: float, top: float) -> None:
    """Lay a sprite on the canvas; parts outside are cut off."""
    x, y = round(left), round(top)
    canvas.alpha_composite(sprite, (max(0, x), max(0, y)), (max(0, -x), max(0, -y)))
