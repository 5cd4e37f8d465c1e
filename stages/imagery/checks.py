"""What is wrong with an image: reason codes for quality control, and near-duplicates by perceptual hash."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageStat

from stages.formats.images import UnusableImageError, open_image

HASH_BITS = 64
# What a user can do about an image.
REMEDIES = {
    "image_missing": "name its picture in the column `image`, or take images.backend: pictograms",
    "image_undecodable": "save the picture anew as PNG or JPEG",
    "image_too_large": "make the picture smaller",
    "image_too_small": "bring a larger picture, or lower quality.min_image_size",
    "image_blank": "bring a picture that shows something",
    "image_near_duplicate": "bring another picture, or lower quality.near_duplicate_bits",
    "subject_undrawn": "name the subject otherwise, bring a picture, or set quality.undrawn_subjects: allow",
}


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


def perceptual_hash(path: Path) -> int:
    """The 64-bit pHash of an image: which of its low frequencies lie above their median (imagehash)."""
    import imagehash

    return int(str(imagehash.phash(open_image(path))), 16)


class PerceptualHashes:
    """Hashes seen so far; those within fewer than `bits` bits of a new one are found without comparing all pairs.

    Two hashes that differ in fewer bits than there are pieces are equal in one piece at least: only hashes that share
    a piece are compared.
    """

    def __init__(self, bits: int) -> None:
        """Look for images that differ in fewer than `bits` bits (0: none)."""
        self.bits = bits
        self._pieces: dict[tuple[int, int], list[int]] = defaultdict(list)
        edges = [HASH_BITS * piece // max(bits, 1) for piece in range(bits + 1)]
        self._cuts = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]

    def add(self, value: int) -> bool:
        """Take a hash in, unless a near one is there; return whether one was."""
        keys = [(low, value >> low & mask) for low, mask in self._cuts]
        if any((other ^ value).bit_count() < self.bits for key in keys for other in self._pieces[key]):
            return True
        for key in keys:
            self._pieces[key].append(value)
        return False
