"""Readers of the captioned corpora as their authors publish them: AudioCaps, Clotho, WavCaps.

Captions come from their tables, audio from anywhere below the folder. A clip whose audio is not there (AudioCaps' is on
YouTube, and much is gone) is listed in rejected.jsonl as `missing`. Several captions of a clip are kept, one is drawn.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.listing import (
    Clip,
    Rejected,
    audio_files,
    csv_rows,
    distinct,
    drawn_split,
    reject,
    slug,
    with_captions,
)
from stages.params.data import Prepare

AUDIOCAPS_TABLES = {"train": "train", "val": "valid", "test": "test"}
CLOTHO_TABLES = {"development": "train", "validation": "valid", "evaluation": "test"}


def audiocaps(folder: Path, prepare: Prepare) -> tuple[list[Clip], list[Rejected]]:
    """`train.csv`, `val.csv`, `test.csv` with audiocap_id, youtube_id, start_time, caption; any of them will do.

    A clip's audio is named by its YouTube id, with or without `Y` before it and its start behind it (`_30`, or
    `_30000` in milliseconds with whatever follows), or by its audiocap_id. Raises ValueError where there is no table.
    """
    tables = [(folder / f"{name}.csv", split) for name, split in AUDIOCAPS_TABLES.items()]
    tables = [(table, split) for table, split in tables if table.is_file()]
    if not tables:
        raise ValueError(f"{folder}: no train.csv, val.csv or test.csv in it; prepare.corpus=audiocaps needs one")
    files = audio_files(folder)
    shortened = {"_".join(stem.split("_")[:-1]): paths for stem, paths in files.items() if stem.count("_")}
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    for table, split in tables:
        rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for number, row in enumerate(csv_rows(table, ("youtube_id", "caption")), start=1):
            if row.get("youtube_id") and _spaced(row.get("caption")):
                rows[row["youtube_id"], str(row.get("start_time") or "0")].append(row)
            else:
                rejected.append(reject("", f"{table.name}, row {number}", "no_caption", "no youtube_id or no caption"))
        for (video, start), group in rows.items():
            name = f"audiocaps-{slug(video)}-{slug(start)}"
            milliseconds = f"{video}_{round(float(start) * 1000)}" if start.replace(".", "", 1).isdigit() else video
            stems = [
                f"{video}_{start}",
                milliseconds,
                video,
                f"Y{video}",
                *(str(row.get("audiocap_id")) for row in group),
            ]
            paths = next((files[stem] for stem in stems if stem in files), shortened.get(milliseconds, []))
            if not paths:
                rejected.append(reject(name, f"youtube {video}", "missing", "no audio of it; gone from YouTube?"))
                continue
            captions = [_spaced(row["caption"]) for row in group]
            clips.append(with_captions(Clip(name, paths[0], f"youtube-{video}", split, None, ()), captions, prepare))
    return distinct(clips, rejected)


def clotho(folder: Path, prepare: Prepare) -> tuple[list[Clip], list[Rejected]]:
    """`clotho_captions_{development,validation,evaluation}.csv` with file_name, caption_1 to caption_5; any will do.

    Audio lies in a folder of the split's name, or anywhere. Raises ValueError where there is no table.
    """
    tables = [(folder / f"clotho_captions_{name}.csv", name) for name in CLOTHO_TABLES]
    tables = [(table, name) for table, name in tables if table.is_file()]
    if not tables:
        raise ValueError(f"{folder}: no clotho_captions_development.csv or the like; prepare.corpus=clotho needs one")
    files = audio_files(folder)
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    for table, part in tables:
        for number, row in enumerate(csv_rows(table, ("file_name", "caption_1")), start=1):
            file = str(row.get("file_name") or "").strip()
            captions = [_spaced(value) for column, value in row.items() if str(column).startswith("caption")]
            captions = [caption for caption in captions if caption]
            name = f"clotho-{slug(PurePosixPath(file).stem)}"
            paths = files.get(PurePosixPath(file).stem, [])
            if not file or not captions:
                rejected.append(reject("", f"{table.name}, row {number}", "no_caption", "no file_name or no caption"))
            elif not paths:
                rejected.append(reject(name, file, "missing", "no such audio below the folder"))
            else:
                path = _nearest(paths, part)
                clip = Clip(name, path, f"clotho-{file}", CLOTHO_TABLES[part], None, ())
                clips.append(with_captions(clip, captions, prepare))
    return distinct(clips, rejected)


def wavcaps(folder: Path, prepare: Prepare) -> tuple[list[Clip], list[Rejected]]:
    """Every JSON file below the folder that has `data`: a list of objects with `id` and `caption`.

    Audio is named by the id and lies in a folder named as the JSON's own (`AudioSet_SL`, `FreeSound` ...), or anywhere.
    WavCaps has no splits: they are drawn by clip. Raises ValueError where there is no such JSON.
    """
    tables = {path: data for path in sorted(folder.rglob("*.json")) if (data := _wavcaps_data(path)) is not None}
    if not tables:
        raise ValueError(f"{folder}: no JSON with a list `data`; prepare.corpus=wavcaps needs WavCaps' json_files")
    files = audio_files(folder)
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    for table, rows in tables.items():
        part = table.parent.name
        for number, row in enumerate(rows, start=1):
            item = str(row.get("id") or "") if isinstance(row, dict) else ""
            said = row.get("caption") if isinstance(row, dict) else None
            captions = [_spaced(caption) for caption in (said if isinstance(said, list) else [said])]
            captions = [caption for caption in captions if caption]
            stem = item if item in files else PurePosixPath(item).stem
            name = f"wavcaps-{slug(part)}-{slug(stem)}"
            if not item or not captions:
                place = f"{table.relative_to(folder).as_posix()}, row {number}"
                rejected.append(reject("", place, "no_caption", "no id or no caption"))
            elif stem not in files:
                rejected.append(reject(name, item, "missing", "no such audio below the folder"))
            else:
                recording = f"wavcaps-{part}-{stem}"
                clip = Clip(name, _nearest(files[stem], part), recording, drawn_split(recording, prepare), None, ())
                clips.append(with_captions(clip, captions, prepare))
    return distinct(clips, rejected)


def _wavcaps_data(path: Path) -> list[Any] | None:
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        return None
    data = read.get("data") if isinstance(read, dict) else None
    return data if isinstance(data, list) else None


def _nearest(paths: list[str], part: str) -> str:
    """The file that lies in a folder named `part`; the first where none does."""
    return next((path for path in paths if part in PurePosixPath(path).parts), paths[0])


def _spaced(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""
