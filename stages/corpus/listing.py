"""What every corpus reader shares: the clip as a row, tables, and how clips become distinct, split and rejected."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.signals import generator
from stages.params.data import Prepare

AUDIO_ENDINGS = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"}
Rejected = dict[str, str]


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus before its audio is read; `caption` is None where only a class is known."""

    id: str
    file: str  # relative to the corpus folder, with forward slashes
    recording: str
    split: str
    caption: str | None
    sources: tuple[str, ...]
    captions: tuple[str, ...] = ()  # all of a clip that has several; `caption` is the one drawn


def distinct(clips: list[Clip], rejected: list[Rejected]) -> tuple[list[Clip], list[Rejected]]:
    """Number clips of one id (several captions of a file) and reject those whose recording lies in another split."""
    kept: list[Clip] = []
    splits: dict[str, str] = {}
    taken: set[str] = set()
    for clip in clips:
        name, number = clip.id, 1
        while name in taken:
            number += 1
            name = f"{clip.id}--{number}"
        taken.add(name)
        if splits.setdefault(clip.recording, clip.split) == clip.split:
            kept.append(replace(clip, id=name))
        else:
            detail = f"recording {clip.recording} lies in {splits[clip.recording]} already"
            rejected.append(reject(name, clip.file, "recording_in_two_splits", detail))
    return kept, rejected


def drawn_split(recording: str, prepare: Prepare) -> str:
    """The split of a recording that has none, by `prepare.valid_share` and `prepare.test_share`."""
    draw = generator(prepare.seed, "split", recording).random()
    if draw < prepare.test_share:
        return "test"
    return "valid" if draw < prepare.test_share + prepare.valid_share else "train"


def with_captions(clip: Clip, captions: list[str], prepare: Prepare) -> Clip:
    """Keep all captions of a clip and draw one by the clip's id and the stage's seed."""
    distinct_ones = tuple(dict.fromkeys(captions))
    drawn = distinct_ones[int(generator(prepare.seed, "caption", clip.id).integers(len(distinct_ones)))]
    return replace(clip, caption=drawn, captions=distinct_ones if len(distinct_ones) > 1 else ())


def audio_files(folder: Path) -> dict[str, list[str]]:
    """Every audio file below `folder`, relative to it, by its name without ending."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_ENDINGS and path.is_file():
            found[path.stem].append(path.relative_to(folder).as_posix())
    return found


def csv_rows(table: Path, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a CSV file with a header. Raises ValueError where it is no UTF-8, no CSV or lacks one of `columns`."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table}: no readable CSV in UTF-8 ({error}); mend or convert it") from None
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise ValueError(
            f"{table}: no column {', '.join(missing)}; its first line holds {found}; take the published file"
        )
    return rows


def jsonl_rows(table: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file; a line that is no object becomes an empty row, which is rejected by its number."""
    for line in table.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = {}
            yield row if isinstance(row, dict) else {}


def inside(file: str) -> bool:
    """Whether a relative path stays in its folder."""
    return not PurePosixPath(file).is_absolute() and ".." not in PurePosixPath(file).parts


def slug(text: str) -> str:
    """Turn a text into a part of an id: letters, digits, "-" and "_"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "clip"


def reject(clip: str, file: str, reason: str, detail: str) -> Rejected:
    """A row of rejected.jsonl."""
    return {"id": clip, "file": file, "reason": reason, "detail": detail}
