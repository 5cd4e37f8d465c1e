"""Draw one image per visual part.

Command: `python -m stages.images`
Reads data/decomposed.jsonl, writes data/images/<id>_<slug>.png (RGB, images.size square) + metadata.jsonl. Captions
without a visual part keep the reason that `decompose` gave them and get no image. Pictograms: about 20 s for 800.
FLUX.1-schnell wants a GPU; its finished images are kept in .cache/images, so a killed run goes on where it was.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from stages.imagery.flux import draw_all
from stages.imagery.pictograms import illustrate
from stages.plumbing.data_params import Images
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
    with replacing_folder(OUTPUT) as folder:
        rows = (
            with_pictograms(wanted, params, folder)
            if params.backend == "pictograms"
            else with_flux(wanted, params, folder)
        )
        write_jsonl(folder / "metadata.jsonl", rows)

    words = sum(bool(row["missing"]) for row in rows)
    blank = len(wanted) - len(rows)
    print(f"{len(rows)} images in {OUTPUT}; {words} of them show a noun as a word, for want of a pictogram")
    if blank:
        print(f"{blank} visual parts have no image: each of {params.flux.attempts} drawings was blank")
    log_stage("images", params, {"images": len(rows), "images_with_word_card": words, "blank": blank})


def with_pictograms(wanted: list[dict[str, Any]], params: Images, folder: Path) -> list[dict[str, Any]]:
    """Draw pictograms into `folder`; return the rows of metadata.jsonl."""
    rows = []
    for row in progress(wanted, "images"):
        picture = illustrate(row["visual_part"], row["id"], params.seed, params.size)
        name = file_name(row)
        picture.image.save(folder / name)
        about = {"file_name": name, "id": row["id"], "visual_part": row["visual_part"]}
        rows.append({**about, "drawn": picture.drawn, "missing": picture.missing})
    return rows


def with_flux(wanted: list[dict[str, Any]], params: Images, folder: Path) -> list[dict[str, Any]]:
    """Let FLUX paint into `folder`; return the rows of metadata.jsonl, none for an item whose drawings were blank."""
    rows = []
    for row, image, seed in draw_all(wanted, params):
        if image is not None:
            name = file_name(row)
            shutil.copyfile(image, folder / name)
            about = {"file_name": name, "id": row["id"], "visual_part": row["visual_part"]}
            rows.append({**about, "drawn": [], "missing": [], "seed": seed})
    return rows


def file_name(row: dict[str, Any]) -> str:
    """`<id>_<slug of the visual part>.png`."""
    return f"{row['id']}_{slug(row['visual_part'])}.png"


def slug(text: str, longest: int = 48) -> str:
    """Turn words into a part of a file name: "a small bell" -> "a-small-bell"."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:longest].rstrip("-") or "image"


if __name__ == "__main__":
    run(main)
