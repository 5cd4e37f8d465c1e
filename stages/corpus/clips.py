"""Clips as later stages see them: the accepted pairs beside what the corpus knows of them, and their waveforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.formats.files import iterate_jsonl
from stages.formats.shards import open_file

if TYPE_CHECKING:
    from torch import Tensor

CORPUS = Path("data/corpus")
DECOMPOSED = Path("data/decomposed.jsonl")
IMAGES = Path("data/images")
QUALITY = Path("data/quality")
SEEN_ATTRIBUTES = ("size", "material", "scene")
SPLITS = ("train", "valid", "test")
FOUNDATION = "foundation"
NEEDED = {"train": 2, "valid": 1, "test": 3}  # distances are of two clips, their intervals of three captions

Row = dict[str, Any]
Item = TypeVar("Item")


def side_by_side(path: Path, fewer: Iterator[Row], stage: str) -> Iterator[tuple[Row, Row | None]]:
    """Each row of a JSONL file with the one of `fewer` that has its id, or None; read one at a time, both by id.

    Raises ValueError that names the `stage` to run where one of `fewer` is not in the file or in another order.
    """
    other = next(fewer, None)
    for row in iterate_jsonl(path):
        if other and other["id"] == row["id"]:
            yield row, other
            other = next(fewer, None)
        else:
            yield row, None
    if other:
        raise ValueError(f"{path}: {other['id']} is missing or out of order; run `dvc repro {stage}`")


def iterate_images() -> Iterator[Row]:
    """Rows of `data/images/metadata.jsonl`, each with the whole path of its file (`open_file` takes it)."""
    for row in iterate_jsonl(IMAGES / "metadata.jsonl"):
        yield row | {"file_name": f"{IMAGES}/{row['file_name']}"}


def accepted_clips(split: str | None = None) -> list[Row]:
    """Rows of `data/quality/accepted.jsonl` joined with the corpus's metadata by id, of one split or of all.

    Raises ValueError where a split holds nothing.
    """
    return _some(iterate_accepted_clips(split), split)


def foundation_split() -> str:
    """What encoders, judges, codec and backbone learn from: `foundation` where accepted pairs have it, else `train`."""
    pairs = iterate_jsonl(QUALITY / "accepted.jsonl")
    return FOUNDATION if any(pair["split"] == FOUNDATION for pair in pairs) else "train"


def iterate_accepted_clips(split: str | None) -> Iterator[Row]:
    """The rows of `accepted_clips`, one at a time."""
    accepted = iterate_jsonl(QUALITY / "accepted.jsonl")
    for clip, pair in side_by_side(CORPUS / "metadata.jsonl", accepted, "quality"):
        if pair and split in (None, pair["split"]):
            yield clip | pair


def accepted_pairs(split: str | None = None) -> list[Row]:
    """Rows of `data/quality/accepted.jsonl`: id, split, caption, both parts and the image, of one split or of all.

    Raises ValueError where a split holds nothing.
    """
    return _some((row for row in iterate_jsonl(QUALITY / "accepted.jsonl") if split in (None, row["split"])), split)


def _some(rows: Iterable[Row], split: str | None) -> list[Row]:
    if listed := list(rows):
        return listed
    raise ValueError(nothing_accepted(split))


def nothing_accepted(split: str | None) -> str:
    """What to say where a split holds no pair."""
    return (
        f"{QUALITY}/accepted.jsonl holds no {split or ''} pair; raise prepare.clips, "
        "prepare.valid_share or prepare.test_share"
    )


def read_waveforms(rows: Sequence[Row]) -> Tensor:
    """Waveforms `[N, samples]` at 16 kHz in [-1, 1] of the rows' clips; all clips of a corpus are equally long."""
    import soundfile
    import torch

    waveforms: Tensor | None = None
    for place, row in enumerate(rows):
        with open_file(CORPUS / row["file_name"]) as file:
            wave = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
        # Filled in place: a list that is stacked afterwards would hold everything twice.
        waveforms = torch.empty(len(rows), len(wave)) if waveforms is None else waveforms
        waveforms[place] = wave
    assert waveforms is not None, "no rows to read"
    return waveforms


def spread(rows: Sequence[Item], wanted: int) -> list[Item]:
    """At most `wanted` rows, evenly over all."""
    wanted = min(wanted, len(rows))
    return [rows[index * len(rows) // wanted] for index in range(wanted)]


def seen_key(row: Row) -> str:
    """What of a clip can be seen, as one comparable text; the visual part where the corpus has no attributes."""
    attributes = row["attributes"]
    if not attributes:
        return str(row["visual_part"]).lower()
    return repr([row["sources"], *(attributes.get(name) for name in SEEN_ATTRIBUTES)])


def heard_attributes(row: Row) -> Row:
    """The attributes that only sound tells; empty where the corpus has none."""
    return {name: value for name, value in row["attributes"].items() if name not in SEEN_ATTRIBUTES}


def heard_key(row: Row) -> str:
    """What of a clip is only heard, as one comparable text; the text part where the corpus has no attributes."""
    attributes = heard_attributes(row)
    return repr(sorted(attributes.items())) if attributes else str(row["text_part"]).lower()


def whole_key(row: Row) -> str:
    """Everything a caption tells, as one comparable text."""
    return f"{seen_key(row)} {heard_key(row)}" if row["attributes"] else str(row["caption"]).lower()
