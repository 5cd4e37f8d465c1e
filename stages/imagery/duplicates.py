"""Near-duplicate images by perceptual hash: what differs in a few of 64 bits looks the same to a person."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from stages.formats.images import open_image

HASH_BITS = 64


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

    def add(self, path: str | Path) -> bool:
        """Take an image in, unless one like it is there; return whether one was."""
        return self.add_hash(perceptual_hash(Path(path)))

    def add_hash(self, value: int) -> bool:
        """Take a hash in, unless a near one is there; return whether one was."""
        keys = [(low, value >> low & mask) for low, mask in self._cuts]
        if any((other ^ value).bit_count() < self.bits for key in keys for other in self._pieces[key]):
            return True
        for key in keys:
            self._pieces[key].append(value)
        return False
