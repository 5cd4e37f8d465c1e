"""`bind-an-audio samples`: a run's clips to hear before installing, as files beside the README and a table in it.

Of each source the first test caption is taken, and its first take: nothing is chosen by ear.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from stages.corpus.clips import CORPUS, Row, accepted_clips, spread
from stages.evaluation.systems import SYSTEMS, sample_folders
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_jsonl, replacing_folder, write_text
from stages.formats.images import open_image
from stages.formats.shards import open_file

SHOWN = ("real", "experiment_a", "experiment_b", "reference")
START, END = "<!-- samples: `bind-an-audio samples` writes this table -->", "<!-- samples end -->"
IMAGE_SIDE, SHOWN_SIDE = 224, 80  # pixels; shown as high as a mel picture, a pixel a mel
SAMPLES = Path("data/samples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--out", type=Path, default=Path("docs/samples"), help="folder to replace (docs/samples)")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="whose table is replaced (README.md)")
    parser.add_argument("--captions", type=int, default=8, help="how many test captions (8)")


def main(arguments: argparse.Namespace) -> None:
    """Write MP3 files, images, mel pictures and the table.

    Raises ValueError where the README has no place for the table and where the run has no samples.
    """
    readme = arguments.readme.read_text(encoding="utf-8")
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise ValueError(f"{arguments.readme}: give it one line `{START}` and below it one `{END}`")
    clips = {name: first_takes(name) for name in SHOWN[1:]}
    rows = [row for row in accepted_clips("test") if all(row["id"] in takes for takes in clips.values())]
    clips["real"] = {row["id"]: CORPUS / row["file_name"] for row in rows}
    chosen = of_each_source(rows, arguments.captions)
    with replacing_folder(arguments.out) as folder:
        for stem, row in chosen.items():
            write_sample(folder / stem, row, {name: clips[name][row["id"]] for name in SHOWN})
        size = sum(file.stat().st_size for file in folder.iterdir())
    lines = table(chosen, os.path.relpath(arguments.out, arguments.readme.parent))
    before, rest = readme.split(START)
    write_text(arguments.readme, f"{before}{START}\n{lines}\n{END}{rest.split(END)[1]}")
    print(f"{arguments.out}: {len(chosen)} captions, {size / 1e6:.2f} MB; table in {arguments.readme}")


def first_takes(system: str) -> dict[str, Path]:
    """The file of each caption's first take, by the caption's id."""
    folder = SAMPLES / sample_folders()[system]
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
    from stages.synthesis.mel import mel_spectrogram

    open_image(row["image"]).resize((IMAGE_SIDE, IMAGE_SIDE)).save(stem.with_suffix(".webp"), quality=85)
    for name, path in clips.items():
        with open_file(path) as file:
            waveform, _ = soundfile.read(file, dtype="float32")
        mp3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.0}
        soundfile.write(f"{stem}_{name}.mp3", waveform, SAMPLE_RATE, **mp3)
        mel = mel_picture(mel_spectrogram(torch.from_numpy(waveform)[None])[0].numpy())
        mel.save(f"{stem}_{name}.png", optimize=True)


def table(rows: dict[str, Row], folder: str) -> str:
    """Markdown: the caption with its image, and each system's mel picture as a link to the sound."""
    lines = [
        f"| caption | image | {' | '.join(SYSTEMS[name].name for name in SHOWN)} |",
        f"| --- | --- | {' | '.join('---' for _ in SHOWN)} |",
    ]
    for stem, row in rows.items():
        path = f"{folder}/{stem}"
        cells = [f"[![hear]({path}_{name}.png)]({path}_{name}.mp3)" for name in SHOWN]
        caption = re.sub(r"([\\`*_|\[\]<>])", r"\\\1", row["caption"])
        lines.append(f'| {caption} | <img src="{path}.webp" width="{SHOWN_SIDE}" alt=""> | {" | ".join(cells)} |')
    return "\n".join(lines)
