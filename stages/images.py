"""Draw one image per visual part.

Command: `python -m stages.images`
Reads data/decomposed.jsonl, writes data/images/<id>_<slug>.png (RGB, images.size square) + metadata.jsonl. Captions
without a visual part keep the reason that `decompose` gave them and get no image. About 20 s for 800 images.
"""

from __future__ import annotations

import re
from pathlib import Path

from stages.imagery.pictograms import illustrate
from stages.plumbing.files import read_jsonl, replacing_folder, write_jsonl
from stages.plumbing.params import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.plumbing.tracking import log_stage

DECOMPOSED = Path("data/decomposed.jsonl")
OUTPUT = Path("data/images")


def main() -> None:
    """Read visual parts, draw them, write the folder in one step."""
    params = load_params().images
    wanted = [row for row in read_jsonl(DECOMPOSED) if row["visual_part"] is not None]
    if not wanted:
        raise ValueError(f"{DECOMPOSED}: no row has a visual part; look at the reasons in its `reason` column")
    rows = []
    with replacing_folder(OUTPUT) as folder:
        for row in progress(wanted, "images"):
            picture = illustrate(row["visual_part"], row["id"], params.seed, params.size)
            name = f"{row['id']}_{slug(row['visual_part'])}.png"
            picture.image.save(folder / name)
            rows.append(
                {
                    "file_name": name,
                    "id": row["id"],
                    "visual_part": row["visual_part"],
                    "drawn": picture.drawn,
                    "missing": picture.missing,
                }
            )
        write_jsonl(folder / "metadata.jsonl", rows)

    words = sum(bool(row["missing"]) for row in rows)
    print(f"{len(rows)} images in {OUTPUT}; {words} of them show a noun as a word, for want of a pictogram")
    log_stage("images", params, {"images": len(rows), "images_with_word_card": words})


def slug(text: str, longest: int = 48) -> str:
    """Turn words into a part of a file name: "a small bell" -> "a-small-bell"."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:longest].rstrip("-") or "image"


if __name__ == "__main__":
    run(main)
