"""Readers of captioned or labelled audio: Hugging Face's audiofolder, ESC-50's layout, ESC-10's class folders.

AudioCaps, Clotho and WavCaps are read by `published.py`.

A reader lists clips without opening their audio. What it cannot use becomes a row of rejected.jsonl with a reason
code; only a folder that is missing or laid out otherwise is an error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.esc_captions import categories
from stages.corpus.listing import Clip, Rejected, csv_rows, distinct, drawn_split, inside, jsonl_rows, reject, slug
from stages.corpus.published import audiocaps, clotho, wavcaps
from stages.corpus.signals import generator
from stages.params.data import Prepare

SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
CAPTION_COLUMNS = ("caption", "text", "transcription")
LABEL_COLUMNS = ("label", "labels", "category", "class")
ESC_SPLITS = {"1": "train", "2": "train", "3": "train", "4": "valid", "5": "test"}
ESC10_FOLDERS = {
    "dog bark": "dog",
    "rain": "rain",
    "sea waves": "sea_waves",
    "baby cry": "crying_baby",
    "clock tick": "clock_tick",
    "person sneeze": "sneezing",
    "helicopter": "helicopter",
    "chainsaw": "chainsaw",
    "rooster": "rooster",
    "fire crackling": "crackling_fire",
}


def read_corpus(prepare: Prepare) -> tuple[list[Clip], list[Rejected]]:
    """List the clips of the corpus in `prepare.folder`, at most `prepare.clips` (0: all), and what was rejected.

    A limit keeps the shares of splits and classes. Raises ValueError where the folder is missing, laid out
    otherwise or holds no clip.
    """
    folder = Path(prepare.folder)
    if not folder.is_dir():
        raise ValueError(f"prepare.folder={prepare.folder}: no such folder; put the {prepare.corpus} corpus there")
    if prepare.corpus == "esc10":
        clips, rejected = _esc10(folder)
    elif prepare.corpus == "esc50":
        clips, rejected = _esc50(folder)
    elif prepare.corpus == "audiocaps":
        clips, rejected = audiocaps(folder, prepare)
    elif prepare.corpus == "clotho":
        clips, rejected = clotho(folder, prepare)
    elif prepare.corpus == "wavcaps":
        clips, rejected = wavcaps(folder, prepare)
    else:
        clips, rejected = _audiofolder(folder, prepare)
    if not clips:
        reasons = sorted({row["reason"] for row in rejected})
        raise ValueError(
            f"prepare.folder={prepare.folder} holds no usable {prepare.corpus} clip"
            + (f" ({len(rejected)} rejected: {', '.join(reasons)})" if rejected else "")
            + "; check prepare.corpus and the folder's layout"
        )
    return _limited(sorted(clips, key=lambda clip: clip.id), prepare), rejected


def _esc10(folder: Path) -> tuple[list[Clip], list[Rejected]]:
    """Class folders such as `001 - Dog bark/1-100032-A.ogg`: fold, freesound id, take.

    Clips of one source lie in one fold: 1 to 3 train, 4 valid, 5 test.
    """
    clips, rejected = [], []
    for path in sorted(folder.glob("*/*")):
        file = path.relative_to(folder).as_posix()
        match = re.fullmatch(r"(\d)-(\d+)-([A-Z])\.(ogg|wav|flac)", path.name)
        category = ESC10_FOLDERS.get(path.parent.name.split(" - ")[-1].lower())
        if not match or match[1] not in ESC_SPLITS:
            rejected.append(reject("", file, "file_name", "not fold-freesoundid-take.ogg with a fold from 1 to 5"))
        elif category is None:
            rejected.append(reject("", file, "unknown_class", path.parent.name))
        else:
            clip = f"esc10-{match[1]}-{match[2]}-{match[3]}-{category.replace('_', '-')}"
            clips.append(Clip(clip, file, f"freesound-{match[2]}", ESC_SPLITS[match[1]], None, (category,)))
    return clips, rejected


def _esc50(folder: Path) -> tuple[list[Clip], list[Rejected]]:
    """`meta/esc50.csv` beside `audio/`: columns filename, fold, category, src_file. Folds as in ESC-10."""
    table = folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise ValueError(f"{table}: no such file; prepare.corpus=esc50 needs ESC-50's folders meta/ and audio/")
    clips, rejected = [], []
    for row in csv_rows(table):
        name = row.get("filename") or ""
        file = f"audio/{name}"
        clip = f"esc50-{slug(PurePosixPath(name).stem)}"
        if not name or not inside(file):
            rejected.append(reject("", file, "file_name", "no file name inside the folder"))
        elif row.get("fold") not in ESC_SPLITS:
            rejected.append(reject(clip, file, "unknown_fold", str(row.get("fold"))))
        elif row.get("category") not in categories():
            rejected.append(reject(clip, file, "unknown_class", str(row.get("category"))))
        else:
            recording = f"freesound-{row.get('src_file') or name}"
            clips.append(Clip(clip, file, recording, ESC_SPLITS[row["fold"]], None, (row["category"],)))
    return distinct(clips, rejected)


def _audiofolder(folder: Path, prepare: Prepare) -> tuple[list[Clip], list[Rejected]]:
    """Every metadata.jsonl or metadata.csv with file_name and caption (or text); label, split, recording optional.

    Splits come from the split column or the topmost folder's name; what has none is drawn by recording, which is
    the file itself unless a `recording` column groups files.
    """
    tables = sorted([*folder.rglob("metadata.jsonl"), *folder.rglob("metadata.csv")])
    if not tables:
        raise ValueError(f"{folder}: no metadata.jsonl or metadata.csv with file_name and caption columns in it")
    clips, rejected = [], []
    for table in tables:
        base = table.parent.relative_to(folder)
        rows = csv_rows(table) if table.suffix == ".csv" else jsonl_rows(table)
        for number, row in enumerate(rows, start=1):
            name = row.get("file_name")
            place = f"{table.relative_to(folder).as_posix()}, row {number}"
            if not isinstance(name, str) or not name.strip():
                rejected.append(reject("", place, "file_name", "no file_name"))
                continue
            file = (base / name).as_posix()
            clip = slug(PurePosixPath(file).with_suffix("").as_posix())
            captions = [row[column] for column in CAPTION_COLUMNS if isinstance(row.get(column), str)]
            caption = " ".join(captions[0].split()) if captions else ""
            folder_name = PurePosixPath(file).parts[0] if "/" in file else ""
            given = row.get("split") or (folder_name if folder_name.lower() in SPLITS else "")
            split = SPLITS.get(str(given).lower(), "") if given else "drawn"
            if not inside(file):
                rejected.append(reject(clip, file, "file_name", "outside the corpus folder"))
            elif not caption:
                rejected.append(reject(clip, file, "no_caption", f"none of the columns {', '.join(CAPTION_COLUMNS)}"))
            elif not split:
                rejected.append(reject(clip, file, "unknown_split", str(given)))
            else:
                recording = str(row.get("recording") or file)
                split = drawn_split(recording, prepare) if split == "drawn" else split
                clips.append(Clip(clip, file, recording, split, caption, _labels(row)))
    return distinct(clips, rejected)


def _limited(clips: list[Clip], prepare: Prepare) -> list[Clip]:
    """Keep `prepare.clips` clips (0: all), spread over splits and classes in proportion."""
    if not prepare.clips or prepare.clips >= len(clips):
        return clips
    groups: dict[tuple[str, tuple[str, ...]], list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.split, clip.sources].append(clip)
    ranked: list[tuple[float, float, Clip]] = []
    for group in groups.values():
        draws = sorted((float(generator(prepare.seed, "limit", clip.id).random()), clip.id, clip) for clip in group)
        ranked += [((rank + 0.5) / len(group), draw, clip) for rank, (draw, _, clip) in enumerate(draws)]
    chosen = sorted(ranked, key=lambda item: (item[0], item[1], item[2].id))[: prepare.clips]
    return sorted((clip for _, _, clip in chosen), key=lambda clip: clip.id)


def _labels(row: dict[str, Any]) -> tuple[str, ...]:
    for column in LABEL_COLUMNS:
        value = row.get(column)
        if isinstance(value, list):
            return tuple(str(label) for label in value)
        if value is not None and str(value).strip():
            return (str(value).strip(),)
    return ()
