"""Draw one image per visual part, or take the one that the clip brings.

Command: `python -m stages.images`
Reads data/decomposed.jsonl and, for pictures of its own, data/corpus/; writes data/images/<id>_<slug>.png (RGB,
images.size square; the corpus's own stay as they are) + metadata.jsonl, or tar shards of `images.shard_size` where
there are more. Captions without a visual part keep the reason that `decompose` gave them and get no image. Pictograms:
about 20 s for 3,380 on 2 cores.
FLUX.1-schnell wants a GPU; its finished images are kept in .cache/images, so a killed run goes on where it was.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

from stages.corpus.clips import CORPUS, DECOMPOSED, IMAGES, Row
from stages.formats.files import iterate_jsonl, replacing_folder, write_jsonl
from stages.formats.shards import in_shards, open_file
from stages.imagery.flux import painter
from stages.imagery.pictograms import illustrate
from stages.params.data import Images
from stages.params.schema import load_params
from stages.plumbing.cluster import in_batches, map_batches
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

BATCH = 16
MOST_NAMED = 12  # subjects without a pictogram, of which the stage speaks
# As a word of its own it would make Hugging Face's imagefolder take the file for one of that split.
SPLIT_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|dev|test|testing|eval|evaluation)(?![a-z])")
# What metadata.jsonl holds of an image (file_name, id, visual_part, drawn, missing, seed), and its file's bytes.
Drawn = tuple[Row, bytes]


def main() -> None:
    """Read visual parts, draw them, write the folder in one step."""
    params = load_params().images
    wanted = [row for row in iterate_jsonl(DECOMPOSED) if row["visual_part"] is not None]
    wanted.sort(key=lambda row: str(row["id"]))
    results: Iterable[list[Drawn]]
    batches = list(in_batches(wanted, params.flux.batch_size if params.backend == "flux" else BATCH))
    if params.backend == "pictograms":
        results = map_batches(partial(pictograms, params), batches)
    elif params.backend == "flux":
        results = map_batches(partial(flux, params), batches, gpu=True)
    else:
        results = map(own_pictures(), batches)
    rows = []
    with replacing_folder(IMAGES) as folder:
        for row, image in chain.from_iterable(progress(results, "images", len(batches))):
            (folder / row["file_name"]).write_bytes(image)
            rows.append(row)
        write_jsonl(folder / "metadata.jsonl", in_shards(folder, "images", rows, params.shard_size))

    undrawn = Counter(subject for row in rows for subject in row["missing"])
    counts = {
        "images": len(rows),
        "images_with_word_card": sum(bool(row["missing"]) for row in rows),
        "blank": len(wanted) - len(rows),
    }
    print(f"{counts['images']} images in {IMAGES}")
    if undrawn:
        named = ", ".join(f"{subject} ({count})" for subject, count in undrawn.most_common(MOST_NAMED))
        more = f" and {len(undrawn) - MOST_NAMED} more" if len(undrawn) > MOST_NAMED else ""
        print(
            f"{counts['images_with_word_card']} show a subject as a word, for want of a pictogram: {named}{more}"
            "; quality.undrawn_subjects: reject leaves them out"
        )
    if counts["blank"]:
        why = (
            f"each of {params.flux.attempts} drawings was blank" if params.backend == "flux" else "the clip brings none"
        )
        print(f"{counts['blank']} visual parts have no image: {why}")
    log_stage("images", counts)


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


def own_pictures() -> Callable[[list[Row]], list[Drawn]]:
    """What takes the pictures of a batch of clips from data/corpus/, byte for byte; nothing for a clip without one.

    Raises ValueError where no clip brings a picture.
    """
    pictures = {row["id"]: row["image"] for row in iterate_jsonl(CORPUS / "metadata.jsonl") if "image" in row}
    if not pictures:
        raise ValueError(
            "images.backend=corpus: no clip brings a picture; name one for each in a column `image` of the "
            "audiofolder's metadata, or take images.backend: pictograms"
        )

    def take(rows: list[Row]) -> list[Drawn]:
        taken = []
        for row in rows:
            if row["id"] in pictures:
                picture = Path(pictures[row["id"]])
                with open_file(CORPUS / picture) as file:
                    taken.append((about(row, picture.suffix) | {"drawn": [], "missing": []}, file.read()))
        return taken

    return take


def about(row: Row, ending: str = ".png") -> Row:
    """What metadata.jsonl says of any image; its file is `<id>_<slug of the visual part>` with an ending."""
    name = f"{row['id']}_{slug(row['visual_part'])}{ending}"
    return {"file_name": name, "id": row["id"], "visual_part": row["visual_part"]}


def slug(text: str, longest: int = 48) -> str:
    """Turn words into a part of a file name: "a small bell" -> "a-small-bell", "a train" -> "a-trains"."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].rstrip("-")
    return SPLIT_WORD.sub(r"\g<0>s", plain) or "image"


if __name__ == "__main__":
    run(main)
