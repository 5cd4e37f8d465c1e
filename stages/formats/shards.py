"""Tar shards in the WebDataset layout: many small files as a few large ones, which DVC handles so much faster.

The files of one sample share a key and differ in their ending. Two runs write the same bytes: members bear neither time
nor owner.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

FILES = ("file_name", "image")  # what of a row names a file


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write samples, each a key and its files by ending: `("clip-1_bell", {"png": ..., "json": ...})`."""
    from webdataset import TarWriter

    with (
        open(path, "wb") as file,
        TarWriter(file, user="", group="", mtime=0, encoder=False, format="PAX_FORMAT") as tar,
    ):
        for key, files in samples:
            tar.write({"__key__": key, **files})


def in_shards(folder: Path, name: str, rows: Sequence[dict[str, Any]], shard_size: int) -> list[dict[str, Any]]:
    """Move the rows' files into `<name>-00000.tar` and so on, `shard_size` rows each, every row beside them as .json.

    Returns rows whose files lead into the shards; 0 leaves all as it is, and so do no more rows than a shard holds.
    """
    if not shard_size or len(rows) <= shard_size:
        return list(rows)
    moved = []
    for start in range(0, len(rows), shard_size):
        shard, part = f"{name}-{start // shard_size:05d}.tar", rows[start : start + shard_size]
        write_shard(folder / shard, (_sample(folder, row) for row in part))
        for row in part:
            files = {key: row[key] for key in FILES if key in row}
            for file in files.values():
                (folder / file).unlink()
            moved.append(row | {key: f"{shard}/{file}" for key, file in files.items()})
    return moved


def _sample(folder: Path, row: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    files = {Path(row[key]).suffix[1:]: (folder / row[key]).read_bytes() for key in FILES if key in row}
    return Path(row["file_name"]).stem, files | {"json": json.dumps(row, ensure_ascii=False).encode()}


def open_file(path: str | Path) -> BinaryIO:
    """Open a file of its own, or one inside a shard: `data/images/images-00000.tar/clip-1_bell.png`.

    Raises FileNotFoundError where there is none, ValueError where its shard is damaged.
    """
    path = Path(path)
    if path.parent.suffix != ".tar":
        return open(path, "rb")
    shard = path.parent
    status = shard.stat()
    member = _members(shard, status.st_mtime_ns, status.st_size).get(path.name)
    if member is None:
        raise FileNotFoundError(2, "not in its shard", str(path))
    with open(shard, "rb") as file:
        file.seek(member[0])
        return io.BytesIO(file.read(member[1]))


@lru_cache(maxsize=2)
def _members(shard: Path, _modified: int, _size: int) -> dict[str, tuple[int, int]]:
    """Offset and size of each file of a tar; time and size are there for the cache."""
    try:
        with tarfile.open(shard, "r:") as tar:
            return {member.name: (member.offset_data, member.size) for member in tar}
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: no whole tar file ({error}); `dvc checkout`, or run its stage again") from None
