"""How an image is opened, wherever the pipeline or a user's command reads one."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stages.formats.shards import open_file

# No vector formats: Pillow would start other programs for them.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
MAX_PIXELS = 25_000_000  # decoded: some 400 MB at worst
DRAFT_SIDE = 1024  # the least side of a larger JPEG, which is decoded at a half, a quarter or an eighth


class UnusableImageError(ValueError):
    """An image that cannot be used: a line that names the file, and the `reason` code of quality control."""

    def __init__(self, line: str, reason: str) -> None:
        """Keep both among the arguments, so that the error travels between processes."""
        super().__init__(line, reason)
        self.reason = reason

    def __str__(self) -> str:
        """The line alone."""
        return str(self.args[0])


def open_image(path: str | Path) -> Image.Image:
    """Read an image, from a file or inside a shard, as RGB of 8 bits: upright, without transparency, one frame.

    What the file is, its content says and not its name. The orientation of its Exif data is applied, transparent parts
    lie on white, of several frames the first one is taken, 16-bit and floating-point greys are scaled to 8 bits.

    Raises UnusableImageError (a ValueError) with a reason: `image_missing`, no such file; `image_undecodable`, no whole
    image can be read from it; `image_too_large`, more than `MAX_PIXELS` where no reduced size can be decoded.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        raise UnusableImageError(f"{path}: no such image", "image_missing") from None
    except OSError as error:
        raise UnusableImageError(f"{path}: cannot be opened ({error.strerror})", "image_undecodable") from None
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that are looked at below
        try:
            with Image.open(file, formats=FORMATS) as image:
                image.verify()  # checksums: decoding alone lets a damaged end pass
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                return _rgb(image)
        except Image.DecompressionBombError as error:
            limit = f"more than {MAX_PIXELS // 10**6} million pixels; make it smaller"
            raise UnusableImageError(f"{path}: {limit} ({error})", "image_too_large") from None
        # Pillow's readers raise many kinds of errors on damaged files (OSError, SyntaxError, ValueError, struct.error).
        except Exception as error:
            why = " ".join(str(error).split())[:200] or type(error).__name__
            line = f"{path}: not an image that can be read ({why}); give a PNG or JPEG"
            raise UnusableImageError(line, "image_undecodable") from None


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    with suppress(Exception):  # damaged Exif data turn nothing
        image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of 16 or 32 bits, or floats, to 0..255: white is the least full scale that holds all of them."""
    pixels = np.asarray(image)
    least, most = float(pixels.min()), float(pixels.max())
    if not np.isfinite([least, most]).all():
        raise ValueError("holds values that are no numbers")
    scales = (*{"F": (1.0, 255.0), "I": (255.0,)}.get(image.mode, ()), 65535.0, most)
    white = next(scale for scale in scales if most <= scale)
    rows = [np.clip(row * (255 / white), 0, 255).round().astype(np.uint8) for row in pixels]
    return Image.fromarray(np.stack(rows))
