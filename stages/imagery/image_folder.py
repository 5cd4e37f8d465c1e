"""`data/images`: a file an image, or, above `images.shard_size` of them, WebDataset tar shards with a Parquet manifest.

DVC looks at every file of a folder, which takes it minutes where there are very many. Both forms name an image
`<id>_<slug>.png` (or as the corpus's own file ends), and a row's `image` is a path in both:
`data/images/clip-1_bell.png`, or inside a tar, `data/images/images-00000.tar/clip-1_bell.png`.
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
MANIFEST = "manifest.parquet"

# What metadata.jsonl holds of an image (file_name, id, visual_part, drawn, missing, seed), and its file's bytes.
Drawn = tuple[dict[str, Any], bytes]


def write_files(folder: Path, images: Iterable[Drawn]) -> None:
    """Write each image as a file, and metadata.jsonl."""
    with open(folder / METADATA, "w", encoding="utf-8", newline="\n") as metadata:
        for about, image in images:
            (folder / about["file_name"]).write_bytes(image)
            metadata.write(jsonl_line(about))


def write_shards(folder: Path, images: Iterable[Drawn], shard_size: int) -> None:
    """Write `images-00000.tar` and so on, of `shard_size` images each with its .json, and the manifest."""
    import pyarrow
    from pyarrow import parquet

    strings = pyarrow.list_(pyarrow.string())
    columns = {"shard": pyarrow.string(), "file_name": pyarrow.string(), "id": pyarrow.string()}
    columns |= {"visual_part": pyarrow.string(), "drawn": strings, "missing": strings, "seed": pyarrow.int64()}
    schema = pyarrow.schema(columns)
    with parquet.ParquetWriter(folder / MANIFEST, schema) as manifest:
        for number, part in enumerate(in_batches(images, shard_size)):
            shard = f"images-{number:05d}.tar"
            write_shard(folder / shard, (_sample(*image) for image in part))
            rows = [{"shard": shard, **about} for about, _ in part]
            manifest.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _sample(about: dict[str, Any], image: bytes) -> tuple[str, dict[str, bytes]]:
    name = Path(about["file_name"])
    return name.stem, {name.suffix[1:]: image, "json": json.dumps(about, ensure_ascii=False).encode()}


def images_in_order() -> Iterator[tuple[str, str, list[str]]]:
    """Id, path and undrawn subjects of each image of `data/images` in either form, in the order of their writing.

    Raises ValueError where there is neither metadata.jsonl nor a manifest that can be read.
    """
    if not (IMAGES / MANIFEST).exists():
        for row in iterate_jsonl(IMAGES / METADATA):
            yield row["id"], f"{IMAGES}/{row['file_name']}", row["missing"]
        return
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(IMAGES / MANIFEST) as manifest:
            for batch in manifest.iter_batches(batch_size=1024, columns=["id", "shard", "file_name", "missing"]):
                for row in batch.to_pylist():
                    yield row["id"], f"{IMAGES}/{row['shard']}/{row['file_name']}", row["missing"]
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{IMAGES / MANIFEST}: cannot be read ({error}); `dvc checkout`, or run `dvc repro images`"
        ) from None
