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
from stages.corpus.listing import SPLITS, Entry, Listing, Rejected, inside, slug, text_of, told
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
    listing = Listing(folder, prepare)
    readers.get(prepare.corpus, _audiofolder)(listing)
    listing.make_distinct()
    if not listing.clips:
        reasons, example = told(listing.rejected)
        raise ValueError(
            f"prepare.folder={prepare.folder} holds no usable {prepare.corpus} clip ({reasons}); check prepare.corpus "
            f"and the folder's layout{example}"
        )
    return _limited(sorted(listing.clips, key=lambda clip: clip.id), prepare), listing.rejected


def _esc10(listing: Listing) -> None:
    """Class folders such as `001 - Dog bark/1-100032-A.ogg`: fold, freesound id, take."""
    for path in sorted(listing.folder.glob("*/*")):
        file = path.relative_to(listing.folder).as_posix()
        match = re.fullmatch(r"([1-5])-(\d+)-([A-Z])\.(ogg|wav|flac)", path.name)
        if not match:
            detail = "not fold-freesoundid-take.ogg with a fold from 1 to 5"
            listing.reject("", file, "file_name", detail)
            continue
        name = path.parent.name.split(" - ")[-1].lower()
        category = ESC10_NAMES.get(name, name.replace(" ", "_"))
        clip = f"esc10-{match[1]}-{match[2]}-{match[3]}-{category.replace('_', '-')}"
        _add_labelled(listing, clip, file, match[2], match[1], category, path.parent.name)


def _esc50(listing: Listing) -> None:
    """`meta/esc50.csv` beside `audio/`: columns filename, fold, category, src_file."""
    if not (listing.folder / "meta" / "esc50.csv").is_file():
        raise ValueError(
            f"{listing.folder}: no meta/esc50.csv in it; prepare.corpus=esc50 needs ESC-50's folders meta/ and audio/"
        )
    for where, row in listing.csv_rows("meta/esc50.csv", "filename", "fold", "category", "src_file"):
        name = row["filename"] or ""
        file = f"audio/{name}"
        if not name or not inside(file):
            listing.reject("", where, "file_name", "no file name inside the folder")
            continue
        clip = f"esc50-{slug(PurePosixPath(name).stem)}"
        category = str(row["category"])
        _add_labelled(listing, clip, file, row["src_file"] or name, str(row["fold"]), category, category)


def _add_labelled(listing: Listing, clip: str, file: str, freesound: str, fold: str, category: str, named: str) -> None:
    """Add a clip of ESC; clips of one source lie in one fold: 1 to 3 train, 4 valid, 5 test.

    `named` is what the corpus calls the category.
    """
    if fold not in ESC_SPLITS:
        listing.reject(clip, file, "unknown_fold", fold)
    elif category not in categories():
        listing.reject(clip, file, "unknown_class", named)
    else:
        listing.clips.append(Entry(clip, file, f"freesound-{freesound}", ESC_SPLITS[fold], None, (category,)))


def _audiofolder(listing: Listing) -> None:
    """Every metadata.jsonl or metadata.csv with file_name and caption (or text).

    Optional: label, split, recording, image (the clip's picture, beside the table as the audio is), and visual_part
    with text_part (the caption's parts, which are then not looked for).
    Splits come from the split column or from a folder of the path; what has none is drawn by recording, which is the
    file itself unless a `recording` column groups files. A folder named as a clip's label (trains hiss) is no split.
    """
    folder, files, clips = listing.folder, listing.files, listing.clips
    known = frozenset(files)
    tables = [file for file in files if PurePosixPath(file).name in ("metadata.jsonl", "metadata.csv")]
    if not tables:
        raise ValueError(f"{folder}: no metadata.jsonl or metadata.csv with file_name and caption columns in it")
    listed: set[tuple[str, str]] = set()
    origins: Counter[str] = Counter()
    doubtful: list[str] = []
    for table in tables:
        rows = listing.csv_rows(table, "file_name") if table.endswith(".csv") else listing.jsonl_rows(table)
        for where, row in rows:
            name = row.get("file_name")
            if not isinstance(name, str) or not name.strip():
                listing.reject("", where, "file_name", "no file_name")
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
                listing.reject(clip, file, "file_name", "outside the corpus folder")
            elif not caption:
                listing.reject(clip, file, "no_caption", f"none of the columns {', '.join(CAPTION_COLUMNS)}")
            elif (file, caption) in listed:
                listing.reject(clip, file, "listed_twice", f"{where}: with this caption once before")
            elif image and image not in known:
                detail = f"{image}: no such file below the corpus folder; mend the column `image` or leave it empty"
                listing.reject(clip, file, "no_image", detail)
            elif image and PurePosixPath(image).suffix.lower() not in IMAGE_ENDINGS:
                detail = f"{image}: none of {', '.join(sorted(IMAGE_ENDINGS))}; a video's frame is saved as one of them"
                listing.reject(clip, file, "no_image", detail)
            elif bool(seen) != bool(heard):
                listing.reject(clip, file, "half_of_parts", "visual_part and text_part come together or not")
            elif given and given.lower() not in SPLITS:
                listing.reject(clip, file, "unknown_split", given)
            elif not given and len(named) > 1:
                detail = f"{' and '.join(folders)} in one path: say which in a column `split`"
                listing.reject(clip, file, "unknown_split", detail)
            else:
                listed.add((file, caption))
                recording = text_of(row.get("recording")) or file
                split = SPLITS.get(given.lower()) or next(iter(named), "") or listing.drawn_split(recording)
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
    used = {*tables, *(clip.file for clip in clips), *(row["file"] for row in listing.rejected)}
    audio = {file for paths in listing.audio.values() for file in paths}
    unused = [file for file in files if file not in used and (file in audio or file.endswith(TABLE_ENDINGS))]
    if unused:
        example = printable(unused[0])
        print(f"{folder}: {len(unused)} files of audio or tables stand in no metadata file, such as {example}")


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
