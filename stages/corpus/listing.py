"""What every corpus reader shares: the clip as a row, files, tables, and how clips become distinct and split."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.clips import NEEDED, Row
from stages.corpus.signals import generator
from stages.formats.files import printable
from stages.params.data import Prepare

AUDIO_ENDINGS = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus"}
# What ffmpeg takes the sound out of.
ENCODED_ENDINGS = {".m4a", ".mp4", ".mov", ".mkv", ".avi", ".webm", ".aac", ".wma"}
UNREADABLE_ENDINGS = {*ENCODED_ENDINGS, ".raw"}  # listed, so that they are not called missing
# The words of Hugging Face's datasets; of a `split` column, a folder or a table's name.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
LONGEST_ID = 120  # file names are made of ids and end at 255 bytes
Rejected = dict[str, str]


@dataclass(frozen=True)
class Entry:
    """One clip of a corpus before its audio is read; `caption` is None where only a class is known."""

    id: str
    file: str  # relative to the corpus folder, with forward slashes
    recording: str
    split: str
    caption: str | None
    sources: tuple[str, ...]
    captions: tuple[str, ...] = ()  # all of a clip that has several; `caption` is the one drawn
    image: str = ""  # its own picture, relative to the corpus folder
    parts: tuple[str, str] | None = None  # its own visual part and text part


class Listing:
    """What a reader finds in a corpus's folder: `clips`, and in `rejected` what cannot be used, each with a reason."""

    def __init__(self, folder: Path, prepare: Prepare) -> None:
        """Begin with nothing found."""
        self.folder, self.prepare = folder, prepare
        self.clips: list[Entry] = []
        self.rejected: list[Rejected] = []

    def reject(self, clip: str, file: str, reason: str, detail: str) -> None:
        """Say why a clip, or a row of a table, is not used."""
        self.rejected.append(rejection(clip, file, reason, detail))

    def drawn_split(self, recording: str) -> str:
        """The split of a recording that has none, by `prepare.valid_share` and `prepare.test_share`."""
        draw = generator(self.prepare.seed, "split", recording).random()
        if draw < self.prepare.test_share:
            return "test"
        return "valid" if draw < self.prepare.test_share + self.prepare.valid_share else "train"

    def make_distinct(self) -> None:
        """Shorten long ids, number equal ones and reject clips whose recording lies in another split."""
        found, self.clips = self.clips, []
        splits: dict[str, str] = {}
        taken: set[str] = set()
        for clip in found:
            short = clip.id
            if len(short) > LONGEST_ID:
                short = f"{short[: LONGEST_ID - 13]}-{hashlib.sha256(short.encode()).hexdigest()[:12]}"
            name, number = short, 1
            # Some file systems keep no upper and lower case apart.
            while name.lower() in taken:
                number += 1
                name = f"{short}--{number}"
            taken.add(name.lower())
            if splits.setdefault(clip.recording, clip.split) == clip.split:
                self.clips.append(replace(clip, id=name))
            else:
                detail = f"recording {clip.recording} lies in {splits[clip.recording]} already"
                self.reject(name, clip.file, "recording_in_two_splits", detail)

    @cached_property
    def files(self) -> list[str]:
        """Every file below the folder, relative to it; symbolic links are followed, each real folder is entered once.

        What has no name in UTF-8 is left out, and said. Raises ValueError naming a folder that cannot be listed.
        """

        def fail(error: OSError) -> None:
            raise ValueError(
                f"{error.filename}: cannot be listed ({error.strerror}); give leave to read it, or move it"
            )

        found: list[str] = []
        entered: set[str] = set()
        for root, folders, names in os.walk(self.folder, followlinks=True, onerror=fail):
            real = os.path.realpath(root)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            folders.sort()
            base = Path(root).relative_to(self.folder)
            found += [(base / name).as_posix() for name in names]
        unnamed = [file for file in found if not is_text(file)]
        if unnamed:
            print(
                f"{self.folder}: {len(unnamed)} files are left out, their names are no UTF-8: {printable(unnamed[0])}; "
                "rename"
            )
        return sorted(set(found) - set(unnamed), key=PurePosixPath)

    @cached_property
    def audio(self) -> dict[str, list[str]]:
        """The audio files by `file_key` of their name without ending; those that can be read hide those that cannot."""
        found: dict[str, list[str]] = {}
        for endings in (AUDIO_ENDINGS, UNREADABLE_ENDINGS):
            named: dict[str, list[str]] = defaultdict(list)
            for file in self.files:
                if PurePosixPath(file).suffix.lower() in endings:
                    named[file_key(PurePosixPath(file).stem)].append(file)
            found = named | found
        return found

    def csv_rows(self, table: str, *columns: str) -> Iterator[tuple[str, Row]]:
        """Rows of a CSV file with a header, each after where it stands ("train.csv, row 3"); broken rows are rejected.

        Raises ValueError where the file is no UTF-8, no CSV or lacks one of `columns`.
        """
        path = self.folder / table
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                reader.fieldnames = header = [name.strip() for name in reader.fieldnames or []]
                missing = ", ".join(column for column in columns if column not in header)
                if missing:
                    found = ", ".join(header) or "nothing"
                    raise ValueError(f"{path}: no column {missing}; its first line holds {found}; name the columns so")
                for number, row in enumerate(reader, start=1):
                    where = f"{table}, row {number}"
                    if None in row:
                        detail = "more cells than columns: put quotes around a caption that holds commas"
                        self.reject("", where, "broken_row", detail)
                    else:
                        yield where, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: no readable CSV in UTF-8 ({error}); mend or convert it") from None

    def jsonl_rows(self, table: str) -> Iterator[tuple[str, Row]]:
        """Rows of a JSONL file, each after where it stands; a line that is no JSON object in UTF-8 is rejected."""
        with open(self.folder / table, "rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{table}, row {number}"
                try:
                    row = json.loads(line.decode("utf-8-sig")) if line.strip() else None
                except (ValueError, RecursionError) as error:
                    self.reject("", where, "broken_row", f"no JSON in UTF-8: {error}")
                    continue
                if isinstance(row, dict) and is_text(row):
                    yield where, row
                elif line.strip():
                    self.reject("", where, "broken_row", "no JSON object of whole characters")


def check_splits(prepare: Prepare, splits: Iterable[str], rejected: list[Rejected]) -> None:
    """Raise ValueError where clips of these splits are too few for the stages that train, validate and evaluate."""
    counts = Counter(splits)
    if any(counts[split] < needed for split, needed in NEEDED.items()):
        found, needed = (", ".join(f"{number[split]} {split}" for split in NEEDED) for number in (counts, NEEDED))
        reasons, example = told(rejected)
        remedy = "raise prepare.clips, prepare.valid_share or prepare.test_share"
        if prepare.corpus != "soundworld":
            remedy = (
                f"add or mend clips in prepare.folder={prepare.folder}, raise prepare.clips (0: all) or, where splits "
                "are drawn, prepare.valid_share and prepare.test_share; few clips want their split in a column `split`"
            )
        raise ValueError(
            f"prepare.corpus={prepare.corpus}: {found} clips ({reasons}), where later stages need {needed}; "
            f"{remedy}{example}"
        )


def counted(rejected: list[Rejected]) -> dict[str, int]:
    """How often each reason occurs, sorted by reason."""
    return dict(sorted(Counter(row["reason"] for row in rejected).items()))


def told(rejected: list[Rejected]) -> tuple[str, str]:
    """The counts by reason in words, and what is said of the first file of the commonest reason."""
    if not rejected:
        return "none rejected", ""
    counts = counted(rejected)
    first = max(rejected, key=lambda row: counts[row["reason"]])
    example = printable(f"{first['file'][:200]}: {first['detail'][:200]}")
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()), f" ({example})"


def file_key(stem: str) -> str:
    """A file's name as it can be compared: archives and systems compose accents and replace colons each their way."""
    return unicodedata.normalize("NFC", stem).strip().replace(":", "_")


def of_part(paths: Sequence[str], own: Collection[str], others: Collection[str] = ()) -> list[str]:
    """Of files of one name those in a folder named as one of `own`, else those in no folder of `others`."""

    def lies_in(path: str, names: Collection[str]) -> bool:
        return any(part.lower() in names for part in PurePosixPath(path).parent.parts)

    return [path for path in paths if lies_in(path, own)] or [path for path in paths if not lies_in(path, others)]


def is_text(value: Any) -> bool:
    """Whether all of a JSON value can be written; JSON can hold half a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def text_of(value: Any) -> str:
    """A cell or JSON value as text in one line; "" where it is none, such as null, NaN or a list."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value:
        return ""
    return " ".join(str(value).split())


def inside(file: str) -> bool:
    """Whether a relative path stays in its folder."""
    return not PurePosixPath(file).is_absolute() and ".." not in PurePosixPath(file).parts


def slug(text: str) -> str:
    """Turn a text into a part of an id: letters, digits, "-" and "_"."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "clip"


def rejection(clip: str, file: str, reason: str, detail: str) -> Rejected:
    """A row of rejected.jsonl; what is no whole character in a name or text is spelled out."""
    row = {"id": clip, "file": file, "reason": reason, "detail": detail}
    return {key: value.encode("utf-8", "backslashreplace").decode() for key, value in row.items()}
