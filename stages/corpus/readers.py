"""Readers of captioned or labelled audio: Hugging Face's audiofolder, ESC-50's layout, ESC-10's class folders.

AudioCaps, Clotho and WavCaps are read by `published.py`.

A reader lists clips without opening their audio. What it cannot use becomes a row of rejected.jsonl with a reason
code; only a folder that is missing or laid out otherwise is an error.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

from stages.corpus.clips import Row
from stages.corpus.esc_captions import categories
from stages.corpus.listing import (
    SPLITS,
    Entry,
    Rejected,
    audio_by_name,
    csv_rows,
    distinct,
    drawn_split,
    files_below,
    inside,
    jsonl_rows,
    reject,
    slug,
    text_of,
    told,
)
from stages.corpus.published import audiocaps, clotho, wavcaps
from stages.corpus.signals import generator
from stages.formats.files import printable
from stages.params.data import Prepare

CAPTION_COLUMNS = ("caption", "text", "transcription")
LIKE_SPLIT = {*SPLITS, "development", "holdout", "fold", "subset", "partition", "trainset", "testset"}
LABEL_COLUMNS = ("label", "labels", "category", "class")
IMAGE_COLUMNS = ("image", "image_file_name")
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".avif", ".jp2"}
TABLE_ENDINGS = (".csv", ".jsonl", ".tsv", ".parquet")
ESC_SPLITS = {"1": "train", "2": "train", "3": "train", "4": "valid", "5": "test"}
ESC10_NAMES = {  # of the folders that are not called as ESC-50's category
    "dog bark": "dog",
    "baby cry": "crying_baby",
    "person sneeze": "sneezing",
    "fire crackling": "crackling_fire",
}


def read_corpus(prepare: Prepare) -> tuple[list[Entry], list[Rejected]]:
    """List the clips of the corpus in `prepare.folder`, at most `prepare.clips` (0: all), and what was rejected.

    A limit keeps the shares of splits and classes. Raises ValueError where the folder is missing, laid out
    otherwise or holds no clip.
    """
    folder = Path(prepare.folder)
    if not folder.is_dir():
        raise ValueError(f"prepare.folder={prepare.folder}: no such folder; put the {prepare.corpus} corpus there")
    readers = {"esc10": _esc10, "esc50": _esc50, "audiocaps": audiocaps, "clotho": clotho, "wavcaps": wavcaps}
    clips, rejected = readers.get(prepare.corpus, _audiofolder)(folder, prepare)
    if not clips:
        reasons, example = told(rejected)
        raise ValueError(
            f"prepare.folder={prepare.folder} holds no usable {prepare.corpus} clip ({reasons}); check prepare.corpus "
            f"and the folder's layout{example}"
        )
    return _limited(sorted(clips, key=lambda clip: clip.id), prepare), rejected


def _esc10(folder: Path, _prepare: Prepare) -> tuple[list[Entry], list[Rejected]]:
    """Class folders such as `001 - Dog bark/1-100032-A.ogg`: fold, freesound id, take.

    Clips of one source lie in one fold: 1 to 3 train, 4 valid, 5 test.
    """
    clips, rejected = [], []
    for path in sorted(folder.glob("*/*")):
        file = path.relative_to(folder).as_posix()
        match = re.fullmatch(r"(\d)-(\d+)-([A-Z])\.(ogg|wav|flac)", path.name)
        name = path.parent.name.split(" - ")[-1].lower()
        category = ESC10_NAMES.get(name, name.replace(" ", "_"))
        if not match or match[1] not in ESC_SPLITS:
            rejected.append(reject("", file, "file_name", "not fold-freesoundid-take.ogg with a fold from 1 to 5"))
        elif category not in categories():
            rejected.append(reject("", file, "unknown_class", path.parent.name))
        else:
            clip = f"esc10-{match[1]}-{match[2]}-{match[3]}-{category.replace('_', '-')}"
            clips.append(Entry(clip, file, f"freesound-{match[2]}", ESC_SPLITS[match[1]], None, (category,)))
    return clips, rejected


def _esc50(folder: Path, _prepare: Prepare) -> tuple[list[Entry], list[Rejected]]:
    """`meta/esc50.csv` beside `audio/`: columns filename, fold, category, src_file. Folds as in ESC-10."""
    if not (folder / "meta" / "esc50.csv").is_file():
        raise ValueError(
            f"{folder}: no meta/esc50.csv in it; prepare.corpus=esc50 needs ESC-50's folders meta/ and audio/"
        )
    clips: list[Entry] = []
    rejected: list[Rejected] = []
    for where, row in csv_rows(folder, "meta/esc50.csv", rejected, ("filename", "fold", "category", "src_file")):
        name = row["filename"] or ""
        file = f"audio/{name}"
        clip = f"esc50-{slug(PurePosixPath(name).stem)}"
        if not name or not inside(file):
            rejected.append(reject("", where, "file_name", "no file name inside the folder"))
        elif row["fold"] not in ESC_SPLITS:
            rejected.append(reject(clip, file, "unknown_fold", str(row["fold"])))
        elif row["category"] not in categories():
            rejected.append(reject(clip, file, "unknown_class", str(row["category"])))
        else:
            recording = f"freesound-{row['src_file'] or name}"
            clips.append(Entry(clip, file, recording, ESC_SPLITS[row["fold"]], None, (row["category"],)))
    return distinct(clips, rejected)


def _audiofolder(folder: Path, prepare: Prepare) -> tuple[list[Entry], list[Rejected]]:
    """Every metadata.jsonl or metadata.csv with file_name and caption (or text).

    Optional: label, split, recording, image (the clip's picture, beside the table as the audio is), and visual_part
    with text_part (the caption's parts, which are then not looked for).
    Splits come from the split column or from a folder of the path; what has none is drawn by recording, which is the
    file itself unless a `recording` column groups files. A folder named as a clip's label (trains hiss) is no split.
    """
    files = files_below(folder)
    known = frozenset(files)
    tables = [file for file in files if PurePosixPath(file).name in ("metadata.jsonl", "metadata.csv")]
    if not tables:
        raise ValueError(f"{folder}: no metadata.jsonl or metadata.csv with file_name and caption columns in it")
    clips: list[Entry] = []
    rejected: list[Rejected] = []
    listed: set[tuple[str, str]] = set()
    origins: Counter[str] = Counter()
    doubtful: list[str] = []
    for table in tables:
        is_csv = table.endswith(".csv")
        rows = csv_rows(folder, table, rejected, ("file_name",)) if is_csv else jsonl_rows(folder, table, rejected)
        for where, row in rows:
            name = row.get("file_name")
            if not isinstance(name, str) or not name.strip():
                rejected.append(reject("", where, "file_name", "no file_name"))
                continue
            path = PurePosixPath(table).parent / name.replace("\\", "/")
            file, clip = str(path), slug(str(path.with_suffix("")) if path.name else name)
            captions = [row[column] for column in CAPTION_COLUMNS if isinstance(row.get(column), str)]
            caption = text_of(captions[0]) if captions else ""
            sources = _labels(row)
            given = text_of(row.get("split"))
            pictures = [text_of(row.get(column)).replace("\\", "/") for column in IMAGE_COLUMNS]
            image = next((str(path.parent / picture) for picture in pictures if picture), "")
            seen, heard = text_of(row.get("visual_part")), text_of(row.get("text_part"))
            folders = [part for part in path.parent.parts if part.lower() in SPLITS and part not in sources]
            named = {SPLITS[part.lower()] for part in folders}
            if not inside(file):
                rejected.append(reject(clip, file, "file_name", "outside the corpus folder"))
            elif not caption:
                rejected.append(reject(clip, file, "no_caption", f"none of the columns {', '.join(CAPTION_COLUMNS)}"))
            elif (file, caption) in listed:
                rejected.append(reject(clip, file, "listed_twice", f"{where}: with this caption once before"))
            elif image and image not in known:
                detail = f"{image}: no such file below the corpus folder; mend the column `image` or leave it empty"
                rejected.append(reject(clip, file, "no_image", detail))
            elif image and PurePosixPath(image).suffix.lower() not in IMAGE_ENDINGS:
                detail = f"{image}: none of {', '.join(sorted(IMAGE_ENDINGS))}; a video's frame is saved as one of them"
                rejected.append(reject(clip, file, "no_image", detail))
            elif bool(seen) != bool(heard):
                rejected.append(reject(clip, file, "half_of_parts", "visual_part and text_part come together or not"))
            elif given and given.lower() not in SPLITS:
                rejected.append(reject(clip, file, "unknown_split", given))
            elif not given and len(named) > 1:
                detail = f"{' and '.join(folders)} in one path: say which in a column `split`"
                rejected.append(reject(clip, file, "unknown_split", detail))
            else:
                listed.add((file, caption))
                recording = text_of(row.get("recording")) or file
                split = SPLITS.get(given.lower()) or next(iter(named), "") or drawn_split(recording, prepare)
                origins["the column split" if given else f"a folder {folders[0]}" if named else "a draw"] += 1
                words = set(re.split(r"[^a-z]+", file.lower())) - {source.lower() for source in sources} | row.keys()
                if (named - {split}) if given else (not named and words & LIKE_SPLIT):
                    doubtful.append(file)
                parts = (seen, heard) if seen else None
                clips.append(Entry(clip, file, recording, split, caption, sources, image=image, parts=parts))
    print(f"{folder}: splits by " + ", ".join(f"{origin} ({count} clips)" for origin, count in origins.items()))
    brought = {"pictures": sum(bool(clip.image) for clip in clips), "parts": sum(bool(clip.parts) for clip in clips)}
    print(
        f"{folder}: "
        + ", ".join(f"{count} of {len(clips)} clips bring their {name}" for name, count in brought.items())
    )
    if doubtful:
        print(
            f"{folder}: {len(doubtful)} clips look as if they were of another split, such as {printable(doubtful[0])}; "
            f"what counts is a column `split`, else a folder, that is one of {', '.join(SPLITS)}"
        )
    used = {*tables, *(clip.file for clip in clips), *(row["file"] for row in rejected)}
    audio = {file for paths in audio_by_name(files).values() for file in paths}
    unused = [file for file in files if file not in used and (file in audio or file.endswith(TABLE_ENDINGS))]
    if unused:
        example = printable(unused[0])
        print(f"{folder}: {len(unused)} files of audio or tables stand in no metadata file, such as {example}")
    return distinct(clips, rejected)


def _limited(clips: list[Entry], prepare: Prepare) -> list[Entry]:
    """Keep `prepare.clips` clips (0: all), spread over splits and classes in proportion."""
    if not prepare.clips or prepare.clips >= len(clips):
        return clips
    groups: dict[tuple[str, tuple[str, ...]], list[Entry]] = defaultdict(list)
    for clip in clips:
        groups[clip.split, clip.sources].append(clip)
    ranked: list[tuple[float, float, Entry]] = []
    for group in groups.values():
        draws = sorted((float(generator(prepare.seed, "limit", clip.id).random()), clip.id, clip) for clip in group)
        ranked += [((rank + 0.5) / len(group), draw, clip) for rank, (draw, _, clip) in enumerate(draws)]
    chosen = sorted(ranked, key=lambda item: (item[0], item[1], item[2].id))[: prepare.clips]
    return sorted((clip for _, _, clip in chosen), key=lambda clip: clip.id)


def _labels(row: Row) -> tuple[str, ...]:
    """The labels of the first of the label columns that has any, without signs that would leave a table or page."""
    for value in map(row.get, LABEL_COLUMNS):
        texts = map(text_of, value if isinstance(value, list) else [value])
        labels = tuple(filter(None, (text_of(re.sub(r'[<>"]', " ", text)) for text in texts)))
        if labels:
            return labels
    return ()
