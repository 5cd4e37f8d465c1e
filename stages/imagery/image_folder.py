"""`data/images`: a file an image or, above `images.shard_size`, WebDataset tar shards; metadata.jsonl lists all.

DVC looks at every file of a folder, which takes it minutes where there are very many. An image is named
`<id>_<slug>.png` (or as the corpus's own file ends), in a shard `images-00000.tar/<id>_<slug>.png`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.formats.files import iterate_jsonl, jsonl_line
from stages.formats.shards import write_shard
from stages.plumbing.cluster import in_batches

IMAGES = Path("data/images")
METADATA = "metadata.jsonl"

# What metadata.jsonl holds of an image (file_name, id, visual_part, drawn, missing, seed), and its file's bytes.
Drawn = tuple[dict[str, Any], bytes]


def write_files(folder: Path, images: Iterable[Drawn]) -> None:
    """Write each image as a file, and metadata.jsonl."""
    with open(folder / METADATA, "w", encoding="utf-8", newline="\n") as metadata:
        for about, image in images:
            (folder / about["file_name"]).write_bytes(image)
            metadata.write(jsonl_line(about))


def write_shards(folder: Path, images: Iterable[Drawn], shard_size: int) -> None:
    """Write `images-00000.tar` and so on, of `shard_size` images each with its .json, and metadata.jsonl."""
    with open(folder / METADATA, "w", encoding="utf-8", newline="\n") as metadata:
        for number, part in enumerate(in_batches(images, shard_size)):
            shard = f"images-{number:05d}.tar"
            write_shard(folder / shard, (_sample(*image) for image in part))
            rows = (about | {"file_name": f"{shard}/{about['file_name']}"} for about, _ in part)
            metadata.writelines(map(jsonl_line, rows))


def _sample(about: dict[str, Any], image: bytes) -> tuple[str, dict[str, bytes]]:
    name = Path(about["file_name"])
    return name.stem, {name.suffix[1:]: image, "json": json.dumps(about, ensure_ascii=False).encode()}


def images_in_order() -> Iterator[tuple[str, str, list[str]]]:
    """Id, path and undrawn subjects of each image of `data/images` in either form, in the order of their writing."""
    for row in iterate_jsonl(IMAGES / METADATA):
        yield row["id"], f"{IMAGES}/{row['file_name']}", row["missing"]
