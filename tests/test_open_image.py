"""One way to open an image: every kind that users have, and a reason for each that is none."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.formats.images import MAX_PIXELS, UnusableImageError, open_image
from stages.imagery.checks import image_problems
from stages.towers.imagebind import read_image

# Left half dark grey, right half light grey, 60 wide and 40 high.
HALVES = np.repeat(np.repeat([[64, 192]], 40, axis=0), 30, axis=1).astype(np.uint8)


def halves(image: Image.Image) -> tuple[int, int]:
    pixels = np.asarray(image.convert("L"))
    return int(pixels[5, 5]), int(pixels[-5, -5])


def bomb(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("8 bits.png", Image.fromarray(HALVES)),
        ("16 bits.png", Image.fromarray(HALVES.astype(np.uint16) * 257)),
        ("16 bits.pgm", Image.fromarray(HALVES.astype(np.uint16) * 257)),
        ("16 bits.tif", Image.fromarray(HALVES.astype(np.uint16) * 257)),
        ("32 bits.tif", Image.fromarray(HALVES.astype(np.int32))),
        ("floats.tif", Image.fromarray(HALVES.astype(np.float32) / 255)),
        ("large floats.tif", Image.fromarray(HALVES.astype(np.float32))),
        ("palette.png", Image.fromarray(HALVES).convert("P")),
        ("grey with alpha.png", Image.fromarray(HALVES).convert("LA")),
        ("inks.jpg", Image.fromarray(HALVES).convert("CMYK")),
        ("inks.tif", Image.fromarray(HALVES).convert("CMYK")),
        ("a photo.webp", Image.fromarray(HALVES).convert("RGB")),
        ("a photo.avif", Image.fromarray(HALVES).convert("RGB")),
    ],
)
def test_every_kind_of_pixel_is_read_as_rgb(tmp_path, name, image):
    image.save(tmp_path / name)
    opened = open_image(tmp_path / name)
    assert opened.mode == "RGB"
    assert opened.size == (60, 40)
    assert np.allclose(halves(opened), (64, 192), atol=6)
    assert image_problems(tmp_path / name, 32, 4.0) == []
    assert np.allclose(read_image(tmp_path / name)[:, 100, [30, -30]], [64, 192], atol=8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_the_cameras_orientation_is_applied(tmp_path, name, orientation):
    upright = Image.fromarray(HALVES).convert("RGB")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposition that the reader must undo
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif)
    opened = open_image(tmp_path / name)
    assert opened.size == (60, 40)
    assert np.allclose(halves(opened), (64, 192), atol=6)


def test_damaged_exif_data_spoil_no_picture(tmp_path):
    Image.fromarray(HALVES).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x03" * 3)
    assert np.allclose(halves(open_image(tmp_path / "a.jpg")), (64, 192), atol=6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "bytes", "colour"])
def test_what_is_transparent_lies_on_white(tmp_path, mode):
    path = tmp_path / "a.png"
    grey, clear = Image.fromarray(np.where(HALVES == 64, 0, 192).astype(np.uint8)), HALVES != 64
    if mode in ("RGBA", "LA"):
        image = grey.convert(mode)
        image.putalpha(Image.fromarray((clear * 255).astype(np.uint8)))
        image.save(path)
    elif mode == "colour":
        grey.convert("RGB").save(path, transparency=(0, 0, 0))
    else:
        grey.convert("P").save(path, transparency=0 if mode == "P" else bytes([0, *[255] * 255]))
    assert np.allclose(halves(open_image(path)), (255, 192), atol=2)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(tmp_path, kind):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("#404040", "white", "black")]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:])
    assert np.allclose(halves(open_image(tmp_path / "a")), (64, 64), atol=3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_content_counts_and_not_the_name(tmp_path, kind):
    Image.fromarray(HALVES).save(tmp_path / "picture.txt", kind)
    assert open_image(tmp_path / "picture.txt").size == (60, 40)


def unusable(path: Path, content: bytes | None) -> UnusableImageError:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableImageError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert image_problems(path, 64, 4.0) == [caught.value.reason]
    with pytest.raises(ValueError, match=path.name):
        read_image(path)
    return caught.value


def test_what_is_no_image_says_why(tmp_path):
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert unusable(tmp_path / "none.png", None).reason == "image_missing"
    assert unusable(folder, None).reason == "image_undecodable"
    for number, content in enumerate(
        [
            b"",
            b"no picture",
            b"<html><body>404</body></html>",
            b'<svg xmlns="http://www.w3.org/2000/svg"/>',
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n",
            b"RIFF\x24\0\0\0WAVEfmt ",
            bomb(0, 0),
            bomb(64, 0),
        ]
    ):
        assert unusable(tmp_path / f"{number}.png", content).reason == "image_undecodable", content
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(tmp_path / "nan.tif")
    assert unusable(tmp_path / "nan.tif", None).reason == "image_undecodable"


def test_an_error_travels_between_processes(tmp_path):
    error = unusable(tmp_path / "none.png", None)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), error.reason)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]), st.floats(0.05, 0.95))
def test_a_file_cut_short_is_no_image(tmp_path_factory, kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    content = buffer.getvalue()
    unusable(tmp_path_factory.mktemp("cut") / "a", content[: int(len(content) * share)])


@pytest.mark.parametrize("side", [5001, 9500, 13_400, 40_000, 2**31 - 1])
def test_what_would_fill_the_memory_is_refused_before_it_is_decoded(tmp_path, side):
    error = unusable(tmp_path / "bomb.png", bomb(side, side))
    assert error.reason == "image_too_large"
    assert f"more than {MAX_PIXELS // 10**6} million pixels; make it smaller" in str(error)


def test_a_large_photograph_is_decoded_at_a_reduced_size(tmp_path):
    Image.fromarray(np.kron(HALVES, np.ones((120, 120), np.uint8))).save(tmp_path / "photo.jpg")  # 35 megapixels
    opened = open_image(tmp_path / "photo.jpg")
    assert opened.width * opened.height < MAX_PIXELS
    assert min(opened.size) >= 1024
    assert np.allclose(halves(opened), (64, 192), atol=6)


def test_long_strips_are_scaled_in_bounded_memory(tmp_path):
    Image.new("RGB", (60_000, 1), "#808080").save(tmp_path / "wide.png")
    Image.new("RGB", (1, 60_000), "#808080").save(tmp_path / "high.png")
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_DATA, ({3 * 2**30}, {3 * 2**30}))
from stages.towers.imagebind import read_image
print([tuple(read_image("{tmp_path}/" + name).shape) for name in ("wide.png", "high.png")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[(3, 224, 224), (3, 224, 224)]", done.stderr
