"""Draw one image per visual part.

Command: `python -m stages.images`
Reads data/decomposed.jsonl, writes data/images/<id>_<slug>.png (RGB, images.size square) + metadata.jsonl, or tar
shards of `images.shard_size` where there are more. Captions without a visual part keep the reason that `decompose` gave
them and get no image. Pictograms: about 20 s for 3,380 on 2 cores.
FLUX.1-schnell wants a GPU; its finished images are kept in .cache/images, so a killed run goes on where it was.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from stages.formats.files import iterate_jsonl, replacing_folder
from stages.imagery.flux import painter
from stages.imagery.image_folder import IMAGES, Drawn, write_files, write_shards
from stages.imagery.pictograms import illustrate
from stages.params.data import Images
from stages.params.schema import load_params
from stages.plumbing.cluster import cores_for, in_batches, map_batches
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

DECOMPOSED = Path("data/decomposed.jsonl")
BATCH = 16
Row = dict[str, Any]


def main() -> None:
    """Read visual parts, draw them, write the folder in one step."""
    params = load_params().images
    wanted = [row for row in iterate_jsonl(DECOMPOSED) if row["visual_part"] is not None]
    wanted.sort(key=lambda row: str(row["id"]))
    if not wanted:
        raise ValueError(f"{DECOMPOSED}: no row has a visual part; look at the reasons in its `reason` column")
    counts = {"images": 0, "images_with_word_card": 0}
    if params.backend == "pictograms":
        batches = list(in_batches(wanted, BATCH))
        results = map_batches(partial(pictograms, params), batches, processes=cores_for(batches))
    else:
        batches = list(in_batches(wanted, params.flux.batch_size))
        results = map_batches(partial(flux, params), batches, gpu=True)
    drawn = counting(chain.from_iterable(progress(results, "images", len(batches))), counts)
    with replacing_folder(IMAGES) as folder:
        if params.shard_size and len(wanted) > params.shard_size:
            write_shards(folder, drawn, params.shard_size)
        else:
            write_files(folder, drawn)

    blank = len(wanted) - counts["images"]
    print(f"{counts['images']} images in {IMAGES}")
    if counts["images_with_word_card"]:
        print(f"{counts['images_with_word_card']} of them show a noun as a word, for want of a pictogram")
    if blank:
        print(f"{blank} visual parts have no image: each of {params.flux.attempts} drawings was blank")
    log_stage("images", params, {**counts, "blank": blank})


def pictograms(params: Images) -> Callable[[list[Row]], list[Drawn]]:
    """What draws the pictograms of a batch of rows."""
    return lambda rows: [draw_pictogram(row, params) for row in rows]


def draw_pictogram(row: Row, params: Images) -> Drawn:
    """One row's pictogram."""
    picture = illustrate(row["visual_part"], row["id"], params.seed, params.size)
    png = io.BytesIO()
    picture.image.save(png, format="PNG")
    return about(row) | {"drawn": picture.drawn, "missing": picture.missing}, png.getvalue()


def flux(params: Images) -> Callable[[list[Row]], list[Drawn]]:
    """What lets FLUX paint a batch of rows; nothing for an item whose drawings were blank."""
    paint = painter(params)
    return lambda rows: [
        (about(row) | {"drawn": [], "missing": [], "seed": seed}, image.read_bytes())
        for row, image, seed in paint(rows)
        if image is not None
    ]


def counting(images: Iterable[Drawn], counts: dict[str, int]) -> Iterator[Drawn]:
    """Pass images on and count them, and those that show a noun as a word."""
    for known, png in images:
        counts["images"] += 1
        counts["images_with_word_card"] += bool(known["missing"])
        yield known, png


def about(row: Row) -> Row:
    """What metadata.jsonl says of any image."""
    return {"file_name": file_name(row), "id": row["id"], "visual_part": row["visual_part"]}


def file_name(row: Row) -> str:
    """`<id>_<slug of the visual part>.png`."""
    return f"{row['id']}_{slug(row['visual_part'])}.png"


def slug(text: str, longest: int = 48) -> str:
    """Turn words into a part of a file name: "a small bell" -> "a-small-bell"."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:longest].rstrip("-") or "image"


if __name__ == "__main__":
    run(main)
