"""Prepare the corpus: read or make captioned audio and split it so that no recording lies in two splits.

Command: `python -m stages.prepare`
Inputs: `prepare` in params.yaml; the folder it names, unless the corpus is soundworld.
Outputs: data/corpus/ with `<id>.flac` (16 kHz mono, clip_seconds long) and, of clips that bring one, their picture as
it is; more than `prepare.shard_size` clips in tar shards; metadata.jsonl and rejected.jsonl.
Runtime: about 25 s for 3,380 clips of soundworld on 2 cores; all cores work.
"""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from stages.corpus.clips import CORPUS, FOUNDATION, SPLITS
from stages.corpus.esc_captions import caption_of
from stages.corpus.listing import Entry, check_splits, counted, rejection
from stages.corpus.readers import read_corpus
from stages.corpus.recordings import UnusableClipError, load_clip
from stages.corpus.signals import Waveform, generator
from stages.corpus.soundworld import make
from stages.corpus.soundworld_plan import Planned, plan
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import printable, replacing_folder, write_jsonl
from stages.formats.shards import in_shards
from stages.language.text import EXAMPLES, REMEDIES, is_english
from stages.params.data import Prepare
from stages.params.schema import load_params
from stages.plumbing.cluster import on_all_cores
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage

MOST_NAMED = 12  # labels


def main() -> None:
    """Write data/corpus/ for the corpus that params.yaml names."""
    prepare = load_params().prepare
    items: list[Planned] | list[Entry]
    items, rejected = (plan(prepare), []) if prepare.corpus == "soundworld" else read_corpus(prepare)
    check_splits(prepare, (item.split for item in items), rejected)
    with replacing_folder(CORPUS) as folder:
        written = on_all_cores(partial(write_clip, prepare, folder), items)
        rows: list[dict[str, Any]] = []
        for row in progress(written, prepare.corpus, len(items)):
            (rejected if "reason" in row else rows).append(row)
        splits = Counter(row["split"] for row in rows)
        check_splits(prepare, splits.elements(), rejected)
        rows = in_shards(folder, "clips", rows, prepare.shard_size)
        write_jsonl(folder / "metadata.jsonl", rows)
        write_jsonl(folder / "rejected.jsonl", sorted(rejected, key=lambda row: row["file"]))
    print(f"{CORPUS}: {', '.join(f'{splits[split]} {split}' for split in (*SPLITS, FOUNDATION))} clips")
    for reason, count in counted(rejected).items():
        print(f"{CORPUS}/rejected.jsonl: {count} {reason}")
    foreign = [row["caption"] for row in rows if not is_english(row["caption"])]
    if foreign:
        named = ", ".join(f'"{caption}"' for caption in dict.fromkeys(foreign[:EXAMPLES]))
        print(f"{CORPUS}: {len(foreign)} captions are not English, such as {named}: {REMEDIES['not_english']}")
    learned = {source for row in rows if row["split"] in ("train", FOUNDATION) for source in row["sources"]}
    unlearned = sorted({source for row in rows if row["split"] == "test" for source in row["sources"]} - learned)
    if unlearned:
        print(
            f"{CORPUS}: no training clip has these labels of test clips, which source accuracy leaves out: "
            f"{printable(', '.join(unlearned[:MOST_NAMED]))}"
        )
    counts = {f"{split}_clips": splits[split] for split in (*SPLITS, FOUNDATION)}
    log_stage("prepare", counts | {f"rejected_{reason}": count for reason, count in counted(rejected).items()})


def write_clip(prepare: Prepare, folder: Path, item: Planned | Entry) -> dict[str, Any]:
    """Write one clip into `folder`; return its row of metadata.jsonl, or of rejected.jsonl if it cannot be used."""
    import soundfile

    try:
        row, wave = make(item, prepare) if isinstance(item, Planned) else recorded(item, prepare)
    except UnusableClipError as error:
        assert isinstance(item, Entry), "what soundworld makes is usable"
        return rejection(item.id, item.file, error.reason, error.detail)
    soundfile.write(folder / row["file_name"], wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    if isinstance(item, Entry) and item.image:
        row["image"] = item.id + Path(item.image).suffix.lower()
        shutil.copyfile(Path(prepare.folder) / item.image, folder / row["image"])
    return row


def recorded(clip: Entry, prepare: Prepare) -> tuple[dict[str, Any], Waveform]:
    """Row and waveform of one clip of a corpus of recordings. Raises UnusableClipError as `load_clip`."""
    wave = load_clip(Path(prepare.folder) / clip.file, round(prepare.clip_seconds * SAMPLE_RATE))
    row: dict[str, Any] = {
        "file_name": f"{clip.id}.flac",
        "id": clip.id,
        "split": clip.split,
        "caption": clip.caption or caption_of(clip.sources[0], wave, generator(prepare.seed, clip.id)),
        "sources": list(clip.sources),
        "composition": None,
        "held_out_pair": False,
        "recording": clip.recording,
        "attributes": {},
    }
    if clip.captions:
        row["captions"] = list(clip.captions)
    if clip.parts:
        row["visual_part"], row["text_part"] = clip.parts
    return row, wave


if __name__ == "__main__":
    run(main)
