"""Readers of the captioned corpora as their authors publish them: AudioCaps, Clotho, WavCaps.

Tables and audio lie anywhere below the folder, as the tools that download them lay them out. A clip whose audio is not
there (AudioCaps' is on YouTube, and much is gone) is rejected as `missing`, one that several files could be as
`ambiguous`. Several captions of a clip are kept, one is drawn.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stages.corpus.clips import Row
from stages.corpus.listing import SPLITS, Entry, Listing, file_key, is_text, of_part, slug, text_of
from stages.corpus.signals import generator

CLOTHO = {"development": "train", "validation": "valid", "evaluation": "test"}
WAVCAPS = {"as_": "AudioSet_SL", "bbc_": "BBC_Sound_Effects", "fsd_": "FreeSound", "sb_": "SoundBible"}
# A video's id, the clip's start and perhaps its end; an id may itself end so, thus both readings.
CUTS = (r"(.+?)_(\d+(?:\.\d+)?)(?:[_-]\d+(?:\.\d+)?)?", r"(.+)_(\d+(?:\.\d+)?)")
FOLDER_ENDS = ("", "_flac")
NUMBER = r"\d+(?:\.\d+)?"


def audiocaps(listing: Listing) -> None:
    """`train.csv`, `val.csv`, `test.csv` with audiocap_id, youtube_id, start_time, caption; any of them will do.

    A clip's audio is named by its YouTube id, with or without `Y` before it and its start and end behind it, in seconds
    or milliseconds (`_30`, `_30.000_40.000`, `_30000_40000`), or by its audiocap_id in a folder of its split.
    Raises ValueError where there is no table, or two of a split.
    """
    cuts: dict[tuple[str, float], set[str]] = defaultdict(set)
    for stem, paths in listing.audio.items():
        for match in filter(None, (re.fullmatch(cut, stem) for cut in CUTS)):
            cuts[match[1], float(match[2])].update(paths)
    for table, split in _tables(listing, {f"{word}.csv": SPLITS[word] for word in SPLITS}):
        rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for where, row in listing.csv_rows(table, "youtube_id", "caption"):
            if row["youtube_id"] and text_of(row["caption"]):
                rows[row["youtube_id"], text_of(row.get("start_time")) or "0"].append(row)
            else:
                listing.reject("", where, "no_caption", "no youtube_id or no caption")
        starts = Counter(video for video, _ in rows)
        own = {word for word in SPLITS if SPLITS[word] == split}
        for (video, start), group in rows.items():
            second = float(start) if re.fullmatch(NUMBER, start) else -1.0
            titles = (video, f"Y{video}")
            found = [sorted(cuts.get((title, second * unit), ())) for title in titles for unit in (1, 1000)]
            if starts[video] == 1:
                found += [listing.audio.get(title, []) for title in titles]
            ids = [text_of(row.get("audiocap_id")) for row in group]
            found += [of_part(listing.audio.get(name, []), own, SPLITS.keys() - own) for name in ids]
            paths = next((of_part(paths, own) for paths in found if paths), [])
            name = f"audiocaps-{slug(video)}-{slug(start)}"
            clip = Entry(name, f"youtube {video}", f"youtube-{video}", split, None, ())
            _add(listing, clip, paths, [text_of(row["caption"]) for row in group])


def clotho(listing: Listing) -> None:
    """`clotho_captions_{development,validation,evaluation}.csv` with file_name, caption_1 to caption_5; any will do.

    Audio lies in a folder of the split's name, or in none of another's. Raises ValueError where there is no table, or
    two of a split.
    """
    for table, part in _tables(listing, {f"clotho_captions_{part}.csv": part for part in CLOTHO}):
        for where, row in listing.csv_rows(table, "file_name", "caption_1"):
            file = (row["file_name"] or "").strip()
            captions = [text_of(value) for column, value in row.items() if column.startswith("caption")]
            captions = [caption for caption in captions if caption]
            stem = PurePosixPath(file).stem
            paths = of_part(listing.audio.get(file_key(stem), []), {part}, CLOTHO.keys() - {part})
            if file and captions:
                clip = Entry(f"clotho-{slug(stem)}", file, f"clotho-{file}", CLOTHO[part], None, ())
                _add(listing, clip, paths, captions)
            else:
                listing.reject("", where, "no_caption", "no file_name or no caption")


def wavcaps(listing: Listing) -> None:
    """Every JSON file below the folder that has `data`: a list of objects with `id` and `caption`.

    Audio is named by the id and lies in a folder named as the JSON's own (`AudioSet_SL`, `FreeSound_flac` ...), or in
    none of another's. What a blacklist in the folder (`blacklist_exclude_test_ac.json` ...: clips of other corpora's
    test sets) names is rejected; without the file it is kept. WavCaps has no splits: they are drawn by clip. Raises
    ValueError where there is no such JSON.
    """
    folder = listing.folder
    tables = {PurePosixPath(file): _json(folder / file) for file in listing.files if file.lower().endswith(".json")}
    banned = {
        (source, _wavcaps_key(item)): table.name
        for table, read in tables.items()
        if table.name.startswith("blacklist")
        for source, items in read.items()
        for item in items
    }
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table, rows in ((table, read["data"]) for table, read in tables.items() if isinstance(read.get("data"), list)):
        part = next((WAVCAPS[key] for key in WAVCAPS if f"_{key}" in f"_{table.stem}"), table.parent.name)
        for number, row in enumerate(rows, start=1):
            row = row if isinstance(row, dict) and is_text(row) else {}
            item, said = text_of(row.get("id")).removesuffix(".wav"), row.get("caption")
            captions = [text for text in map(text_of, said if isinstance(said, list) else [said]) if text]
            if item and captions:
                texts[part, item] += captions
            else:
                listing.reject("", f"{table}, row {number}", "no_caption", "no id or no caption")
    if not texts and not listing.rejected:
        raise ValueError(f"{folder}: no JSON with a list `data`; prepare.corpus=wavcaps needs WavCaps' json_files")
    others = {
        f"{part.lower()}{end}" for part in {*WAVCAPS.values(), *(part for part, _ in texts)} for end in FOLDER_ENDS
    }
    for (part, item), captions in texts.items():
        paths = of_part(listing.audio.get(file_key(item), []), {part.lower() + end for end in FOLDER_ENDS}, others)
        recording = f"wavcaps-{part}-{item}"
        name = f"wavcaps-{slug(part)}-{slug(item)}"
        # The blacklists call AudioSet_SL AudioSet.
        if blacklist := banned.get((part.removesuffix("_SL"), _wavcaps_key(item))):
            detail = f"named in {blacklist}; remove that file to keep it"
            listing.reject(name, item, "blacklisted", detail)
        else:
            clip = Entry(name, item, recording, listing.drawn_split(recording), None, ())
            _add(listing, clip, paths, captions)


def _wavcaps_key(item: object) -> str:
    return str(item).removesuffix(".wav").removeprefix("Y")


def _add(listing: Listing, clip: Entry, paths: list[str], captions: list[str]) -> None:
    """Add a clip whose audio is the one path, or say why its file is none.

    All its captions are kept, and one is drawn by its id and the stage's seed.
    """
    if len(paths) == 1:
        captions = list(dict.fromkeys(captions))
        draw = int(generator(listing.prepare.seed, "caption", clip.id).integers(len(captions)))
        several = tuple(captions) if len(captions) > 1 else ()
        listing.clips.append(replace(clip, file=paths[0], caption=captions[draw], captions=several))
    elif paths:
        detail = f"could be {' or '.join(paths[:3])}; leave one of them"
        listing.reject(clip.id, clip.file, "ambiguous", detail)
    else:
        listing.reject(clip.id, clip.file, "missing", "no audio of it below the folder")


def _tables(listing: Listing, parts: dict[str, str]) -> list[tuple[str, str]]:
    """The tables of these names with their parts. Raises ValueError where there is none, or two of a part."""
    folder, corpus = listing.folder, listing.prepare.corpus
    found = {
        part: [file for file in listing.files if parts.get(PurePosixPath(file).name) == part] for part in parts.values()
    }
    for part, tables in found.items():
        if len(tables) > 1:
            raise ValueError(f"{folder}: {' and '.join(tables)} are both tables of {part} clips; leave one of them")
    if not any(found.values()):
        raise ValueError(f"{folder}: none of {', '.join(parts)} below it; prepare.corpus={corpus} needs one")
    return [(tables[0], part) for part, tables in found.items() if tables]


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
