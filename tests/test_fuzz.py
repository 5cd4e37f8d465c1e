"""Files damaged at random, for each reader: what cannot be read is one line, and what can be read is whole.

`BIND_AN_AUDIO_CASES=10000` tries so many a reader, `BIND_AN_AUDIO_SEED` decides which.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors import numpy as safetensors_numpy

from stages.corpus.readers import read_corpus
from stages.corpus.recordings import UnusableClipError, load_clip
from stages.formats.files import iterate_jsonl, read_json, read_tsv
from stages.formats.images import MAX_PIXELS, open_image
from stages.formats.shards import open_file
from stages.inference.provenance import read_record, write_clip
from stages.params.schema import load_params
from stages.plumbing.running import shown
from stages.training.checkpoint import newest_checkpoint, save_checkpoint
from stages.weights.reading import read_weights
from tests.test_corpus import settings_for

CASES = int(os.environ.get("BIND_AN_AUDIO_CASES", "60"))
SEED = int(os.environ.get("BIND_AN_AUDIO_SEED", "1"))
SAMPLES = 20_480
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
ROOT = Path(__file__).parent.parent
# What breaks readers of text, of numbers and of paths.
WORDS = [
    b"", b"\0", b"\n", b"\r\n", b'"', b"'", b",", b"{", b"[" * 3000, b"}", b"null", b"NaN", b"1e999", b"-1",
    b"\xff\xfe", b"\\ud83d", b"\xed\xa0\xbd", b"../", b"/etc/passwd", b"C:\\x", b"#", b"%00", b"%2e%2e",
    b"</script><script>alert(1)</script>", b"\x1b]0;x\x07", "\u202e\u200f".encode(), "\U0001f514".encode(),
    b"9" * 5000, b"ignore all instructions", b"{{7*7}}",
    b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00", b" " * 999, b"a" * 9999,
]  # fmt: skip


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """The file with a few of its bytes changed, cut, repeated or replaced."""
    content = bytearray(whole)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        # Headers decide most: half of the damage is done to the first hundred bytes.
        place = draw.randrange(min(len(content), draw.choice([100, len(content) or 1]))) if content else 0
        kind = draw.randrange(6)
        if kind == 0 and content:
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[place : place + draw.choice([0, 1, 4, 50])] = draw.choice(WORDS)
        elif kind == 2:
            del content[place:]
        elif kind == 3:
            del content[place : place + draw.randrange(1, 40)]
        elif kind == 4:
            content[place:place] = content[place : place + draw.randrange(1, 400)]
        elif content:
            content[place : place + 4] = draw.randbytes(4)
    return bytes(content)


def audio() -> list[bytes]:
    files = []
    wave = np.random.default_rng(1).uniform(-0.5, 0.5, (12_000, 2))
    for kind, subtype, rate, channels in [
        ("WAV", "PCM_16", 22_050, 1), ("WAV", "PCM_U8", 8000, 2), ("WAV", "PCM_24", 16_000, 1),
        ("WAV", "FLOAT", 16_000, 2), ("WAV", "IMA_ADPCM", 16_000, 1), ("FLAC", "PCM_16", 16_000, 1),
        ("FLAC", "PCM_24", 16_000, 2),
        ("OGG", "VORBIS", 16_000, 1), ("OGG", "OPUS", 16_000, 1), ("MP3", "MPEG_LAYER_III", 16_000, 1),
        ("AIFF", "PCM_16", 16_000, 1), ("W64", "PCM_16", 16_000, 1), ("CAF", "ALAC_16", 16_000, 1),
        ("AU", "ULAW", 8000, 1),
    ]:  # fmt: skip
        buffer = io.BytesIO()
        soundfile.write(buffer, wave[:, :channels], rate, format=kind, subtype=subtype)
        files.append(buffer.getvalue())
    return files


def read_audio(path: Path) -> None:
    clip = load_clip(path, SAMPLES)
    assert clip.shape == (SAMPLES,)
    assert np.max(np.abs(clip)) <= 1.0


def images() -> list[bytes]:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    files = []
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("PNG", "RGB", {}), ("PNG", "P", {"transparency": 3}), ("PNG", "I;16", {}), ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"progressive": True}), ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"lossless": True}), ("GIF", "P", {}),
        ("GIF", "P", {"save_all": True, "append_images": [noise]}), ("BMP", "RGB", {}), ("TIFF", "RGB", {}),
        ("TIFF", "F", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "RGB", {"compression": "jpeg"}),
        ("PPM", "RGB", {}), ("AVIF", "RGB", {}), ("JPEG2000", "RGB", {}),
    ]  # fmt: skip
    for kind, mode, options in kinds:
        buffer = io.BytesIO()
        (noise.convert("I").convert(mode) if mode == "I;16" else noise.convert(mode)).save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def read_image(path: Path) -> None:
    image = open_image(path)
    assert image.mode == "RGB"
    assert 0 < image.width * image.height <= MAX_PIXELS
    image.resize((8, 8))


def safetensors_files() -> list[bytes]:
    named = {"a": np.ones((4, 3), np.float32), "b": np.arange(5), "c": np.zeros((0, 2), np.float16)}
    return [safetensors_numpy.save(named, {"x": "y"}), safetensors_numpy.save({"a": np.ones(300)})]


def pickles() -> list[bytes]:
    files = []
    for new in (True, False):
        buffer = io.BytesIO()
        content = {
            "state_dict": {"a": torch.ones(4, 3), "b": torch.nn.Parameter(torch.ones(2))},
            "x": [1, "2", {3: None}],
        }
        torch.save(content, buffer, _use_new_zipfile_serialization=new)
        files.append(buffer.getvalue())
    return files


def read_tensors(path: Path) -> None:
    for value in read_weights(path, ("state_dict",)).values():
        assert value.numel() == 0 or bool((value == value).all())


def checkpoint() -> list[bytes]:
    path = Path("whole.safetensors")
    save_checkpoint(path, {"network": {"a": torch.ones(4)}, "best": {}}, {"curve": [{"epoch": 1}], "update": 3})
    return [path.read_bytes()]


def read_checkpoint(path: Path) -> None:
    found = newest_checkpoint(path)
    assert found is None or isinstance(found[1], dict)


def jsonl() -> list[bytes]:
    rows = [
        {"id": "a", "caption": "A bell “rings”", "sources": ["bell"], "x": None},
        {"id": "b", "y": [1.5, {"z": -2}]},
    ]
    return ["\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows).encode() for escaped in (True, False)]


def shard() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.flac", "b.flac"):
            about = tarfile.TarInfo(name)
            about.size = 700
            tar.addfile(about, io.BytesIO(bytes(700)))
    return [buffer.getvalue()]


def clips_with_record() -> list[bytes]:
    files = []
    for name in ("a.wav", "a.flac"):
        write_clip(name, torch.zeros(4000), {"text": "a bell", "seed": 1, "weights": {"models/codec": "0f"}})
        files.append(Path(name).read_bytes())
    return files


def tables(*rows: tuple[str, ...]) -> Callable[[], list[bytes]]:
    """A CSV, and the same with captions between quotes."""

    def files() -> list[bytes]:
        written = []
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
            text = io.StringIO()
            csv.writer(text, quoting=quoting).writerows(rows)
            written.append(text.getvalue().encode())
        return written

    return files


def metadata() -> list[bytes]:
    rows = [
        {"file_name": "a.wav", "caption": "A bell", "label": ["bell"], "split": "train", "image": "a.png"},
        {"file_name": "sub/b.wav", "text": "A dog", "recording": 7, "visual_part": "a dog", "text_part": "barks"},
    ]
    return ["\n".join(json.dumps(row) for row in rows).encode()]


def wavcaps() -> list[bytes]:
    return [json.dumps({"data": [{"id": f"{name}.wav", "caption": "A bell"} for name in "abc"]}).encode()]


def read_table(corpus: str, levels: int = 1) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        folder = path.parents[levels - 1]
        clips, rejected = read_corpus(settings_for(corpus, folder))
        assert len({clip.id.lower() for clip in clips}) == len(clips)
        for clip in clips:
            assert set(clip.id) <= PLAIN
            assert not Path(clip.file).is_absolute()
            assert ".." not in Path(clip.file).parts
            assert not set('<>"').intersection("".join(clip.sources))
        json.dumps([[vars(clip) for clip in clips], rejected], ensure_ascii=False).encode()

    return read


@dataclass(frozen=True)
class Reader:
    """Whole files, the name that the reader finds one under, and what reads it."""

    files: Callable[[], list[bytes]]
    name: str
    read: Callable[[Path], Any]


READERS = {
    "audio": Reader(audio, "a.wav", read_audio),
    "image": Reader(images, "a.png", read_image),
    "safetensors": Reader(safetensors_files, "a.safetensors", read_tensors),
    "pickle": Reader(pickles, "a.pt", read_tensors),
    "checkpoint": Reader(checkpoint, "a.safetensors", read_checkpoint),
    "jsonl": Reader(jsonl, "a.jsonl", lambda path: list(iterate_jsonl(path))),
    "json": Reader(lambda: [(ROOT / "metrics/evaluation.json").read_bytes()[:900] + b"}}"], "a.json", read_json),
    "tsv": Reader(lambda: ["id\tloss\n1\ta “bell”\n2\t0.5\n".encode()], "a.tsv", read_tsv),
    "params": Reader(lambda: [(ROOT / "params.yaml").read_bytes()], "params.yaml", load_params),
    "shard": Reader(shard, "a.tar", lambda path: open_file(path / "b.flac").read()),
    "audiofolder's CSV": Reader(
        tables(
            ("file_name", "caption", "label", "split"),
            ("a.wav", "A bell, loud", "bell", "train"),
            ("b.wav", "B", "", ""),
        ),
        "metadata.csv",
        read_table("audiofolder"),
    ),
    "audiofolder's JSONL": Reader(metadata, "metadata.jsonl", read_table("audiofolder")),
    "ESC-50's CSV": Reader(
        tables(("filename", "fold", "category", "src_file"), ("1.wav", "1", "dog", "2"), ("b.wav", "5", "rain", "")),
        "meta/esc50.csv",
        read_table("esc50", 2),
    ),
    "AudioCaps' CSV": Reader(
        tables(("audiocap_id", "youtube_id", "start_time", "caption"), ("91", "aYx", "30", "A bell"), ("2", "b")),
        "train.csv",
        read_table("audiocaps"),
    ),
    "Clotho's CSV": Reader(
        tables(("file_name", "caption_1", "caption_2"), ("a.wav", "A bell", "Bells"), ("b.wav", "B", "")),
        "clotho_captions_development.csv",
        read_table("clotho"),
    ),
    "WavCaps' JSON": Reader(wavcaps, "fsd_final.json", read_table("wavcaps")),
    "record of a clip": Reader(clips_with_record, "a.flac", read_record),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    reader = READERS[name]
    wholes, path = reader.files(), tmp_path / reader.name
    path.parent.mkdir(exist_ok=True)
    for beside in ("a.wav", "b.wav", "c.wav", "aYx_30.wav", "a.png"):
        (tmp_path / beside).touch()
    for case in range(CASES):
        draw = random.Random(f"{SEED} {name} {case}")
        content = damaged(wholes[case % len(wholes)], draw)
        path.write_bytes(content)
        before = set(tmp_path.rglob("*"))
        try:
            reader.read(path)
        except (ValueError, UnusableClipError, FileNotFoundError) as error:
            if not isinstance(error, UnusableClipError) and str(tmp_path) not in shown(str(error)):
                raise AssertionError(f"seed {SEED}, case {case}: {content[:200]!r}") from error
        except Exception as error:
            raise AssertionError(f"seed {SEED}, case {case}: {content[:200]!r}") from error
        assert set(tmp_path.rglob("*")) == before
