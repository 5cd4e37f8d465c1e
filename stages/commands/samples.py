"""`bind-an-audio samples`: a run's clips to hear before installing, as files beside the README and a table in it.

Of each source the first test caption is taken, and its first take: nothing is chosen by ear.
"""

from __future__ import annotations

import argparse
import os
from contextlib import chdir
from pathlib import Path

from stages.corpus.clips import CORPUS, Row, accepted_clips, spread
from stages.evaluation.systems import SYSTEMS, sample_folders
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_jsonl, replacing_folder, write_text
from stages.formats.images import open_image
from stages.formats.shards import open_file
from stages.report.pages import markdown_table, plain_markdown

README = Path("README.md")
SHOWN = ("real", "experiment_a", "experiment_b", "reference")
START, END = "<!-- {}: `bind-an-audio samples` writes this table -->", "<!-- {} end -->"  # by the folder
IMAGE_SIDE, SHOWN_SIDE = 224, 80  # pixels; shown as high as a mel picture, a pixel a mel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--run", type=Path, default=Path("."), help="where the run's data/ lies (default: this folder)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/samples/soundworld"),
        help="folder to replace (default: docs/samples/soundworld)",
    )
    parser.add_argument("--captions", type=int, default=8, help="how many test captions (default: 8)")


def main(arguments: argparse.Namespace) -> None:
    """Write MP3 files, images, mel pictures and the table.

    Raises ValueError where the README has no place for the folder's table and where the run has no samples.
    """
    readme, out = README.resolve(), arguments.out.resolve()
    folder = os.path.relpath(out, readme.parent)
    start, end = START.format(folder), END.format(folder)
    text = readme.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"{README}: give it one line `{start}` and below it one `{end}`")
    with chdir(arguments.run):
        clips = {name: first_takes(name) for name in SHOWN[1:]}
        rows = [row for row in accepted_clips("test") if all(row["id"] in takes for takes in clips.values())]
        clips["real"] = {row["id"]: CORPUS / row["file_name"] for row in rows}
        chosen = of_each_source(rows, arguments.captions)
        with replacing_folder(out) as partial:
            for stem, row in chosen.items():
                write_sample(partial / stem, row, {name: clips[name][row["id"]] for name in SHOWN})
            size = sum(file.stat().st_size for file in partial.iterdir())
    before, rest = text.split(start)
    write_text(readme, f"{before}{start}\n{table(chosen, folder)}\n{end}{rest.split(end)[1]}")
    print(f"{arguments.out}: {len(chosen)} captions, {size / 1e6:.2f} MB; table in {README}")


def first_takes(system: str) -> dict[str, Path]:
    """The file of each caption's first take, by the caption's id."""
    folder = sample_folders()[system]
    if not (folder / "metadata.jsonl").is_file():
        raise ValueError(f"{folder}: no clips there; run `dvc repro` or `dvc pull`")
    return {row["id"]: folder / row["file_name"] for row in read_jsonl(folder / "metadata.jsonl") if row["take"] == 0}


def of_each_source(rows: list[Row], wanted: int) -> dict[str, Row]:
    """The first row of each source or pair of sources, single ones first, named by them; then others by their ids."""
    firsts: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: len(row["sources"])):
        firsts.setdefault("-".join(row["sources"]) or row["id"], row)
    chosen = dict(list(firsts.items())[:wanted])
    left = [row for row in rows if row not in chosen.values()]
    return chosen | {row["id"]: row for row in spread(left, min(wanted - len(chosen), len(left)))}


def write_sample(stem: Path, row: Row, clips: dict[str, Path]) -> None:
    """`<stem>.webp`, and of each system `<stem>_<system>.mp3` with its mel picture as PNG."""
    import soundfile
    import torch

    from stages.report.listening_page import mel_picture

    open_image(row["image"]).resize((IMAGE_SIDE, IMAGE_SIDE)).save(stem.with_suffix(".webp"), quality=85)
    for name, path in clips.items():
        with open_file(path) as file:
            waveform, _ = soundfile.read(file, dtype="float32")
        mp3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.0}
        soundfile.write(f"{stem}_{name}.mp3", waveform, SAMPLE_RATE, **mp3)
        mel_picture(torch.from_numpy(waveform)).save(f"{stem}_{name}.png", optimize=True)


def table(rows: dict[str, Row], folder: str) -> str:
    """Markdown: the caption with its image, and each system's mel picture as a link to the sound."""
    lines = []
    for stem, row in rows.items():
        path = f"{folder}/{stem}"
        image = f'<img src="{path}.webp" width="{SHOWN_SIDE}" alt="">'
        cells = [f"[![hear]({path}_{name}.png)]({path}_{name}.mp3)" for name in SHOWN]
        lines.append([plain_markdown(row["caption"]), image, *cells])
    return markdown_table(["caption", "image", *(SYSTEMS[name].name for name in SHOWN)], lines)
