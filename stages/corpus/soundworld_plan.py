"""What soundworld's clips are made of, before any is made: recordings, their splits, and which of them are joined."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.corpus.clips import FOUNDATION
from stages.corpus.signals import generator
from stages.params.data import Prepare, SoundSource

TAKES = 4


@dataclass(frozen=True)
class Recording:
    """One sounding thing: a source with its own pitch and timbre, in one split."""

    name: str
    source: SoundSource
    split: str
    pitch: float
    timbre: float


@dataclass(frozen=True)
class Planned:
    """A clip that is to be made: of one recording, or of two that are joined."""

    id: str
    recordings: tuple[Recording, ...]

    @property
    def split(self) -> str:
        """Both recordings lie in it."""
        return self.recordings[0].split


def held_out_pairs(sources: Sequence[str]) -> set[frozenset[str]]:
    """The pairs that only the test split may join: each source with the one half the list away, so that all occur."""
    names = sorted(sources)
    return {frozenset(pair) for pair in zip(names, names[len(names) // 2 :], strict=False)}


def plan(prepare: Prepare) -> list[Planned]:
    """List the clips to make, ordered by id: the experiment's `prepare.clips`, then `prepare.foundation_clips`.

    Each of both consists of takes of its own recordings, then of compositions. Every other composition of the test
    split joins a held-out pair of sources where the split has both; no other clip does. The time that this takes grows
    with the number of clips and no faster.

    Raises ValueError where there are too few recordings to join two.
    """
    shares = {"test": prepare.test_share, "valid": prepare.valid_share, "train": 1.0}
    return [
        *_part(prepare, "soundworld", prepare.clips, shares),
        *_part(prepare, "soundworld-foundation", prepare.foundation_clips, {FOUNDATION: 1.0}),
    ]


def _part(prepare: Prepare, name: str, clips: int, shares: dict[str, float]) -> Iterator[Planned]:
    joined = round(clips * prepare.compositions)
    single = clips - joined
    takes = max(1, min(TAKES, single // (4 * len(prepare.sources))))
    recordings = draw_recordings(prepare, name, -(-single // takes), shares)
    alone = [(recordings[number // takes],) for number in range(single)]
    for number, part in enumerate([*alone, *_compositions(prepare, name, recordings, joined, shares)]):
        yield Planned(f"{name}-{number:05d}", part)


def draw_recordings(prepare: Prepare, name: str, count: int, shares: dict[str, float]) -> list[Recording]:
    """Draw `count` recordings, all sources in turn, the splits of `shares` one after the other.

    Sources are equally frequent in each split up to one recording, as far as `count` reaches.
    """
    names = sorted(prepare.sources)
    recordings = []
    for number in range(count):
        turn, place = divmod(number, len(names))
        source = names[generator(prepare.seed, name, "order", turn).permutation(len(names))[place]]
        rng = generator(prepare.seed, name, "recording", source, turn)
        pitch, timbre = 2 ** rng.uniform(-0.12, 0.12), rng.uniform(-1, 1)
        split = _split(number, count, shares)
        recordings.append(Recording(f"{name}-{source}-{turn:03d}", source, split, pitch, timbre))
    return recordings


def _split(number: int, count: int, shares: dict[str, float]) -> str:
    """Where the `number`th of `count` lies; the last split takes the rest."""
    ends = itertools.accumulate(round(share * count) for share in shares.values())
    return next(split for split, end in zip(shares, ends, strict=True) if number < end)


def _compositions(
    prepare: Prepare, name: str, recordings: list[Recording], count: int, shares: dict[str, float]
) -> Iterator[tuple[Recording, Recording]]:
    """Draw `count` pairs of recordings of one split and different sources, all pairs of sources alike."""
    by_source: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_source[recording.split, recording.source].append(recording)
    held_out = held_out_pairs(prepare.sources)
    possible: dict[tuple[str, bool], list[tuple[str, str]]] = defaultdict(list)
    for first, second in itertools.combinations(sorted(prepare.sources), 2):
        for split in shares:
            if (split, first) in by_source and (split, second) in by_source:
                possible[split, frozenset((first, second)) in held_out].append((first, second))
    for number in range(count):
        rng = generator(prepare.seed, name, "composition", number)
        split = _split(number, count, shares)
        if not possible[split, False]:
            split = list(shares)[-1]
        pairs = possible[split, True] if split == "test" and number % 2 else []
        pairs = pairs or possible[split, False]
        if not pairs:
            key = "foundation_clips" if split == FOUNDATION else "clips"
            raise ValueError(
                f"prepare.{key} makes too few recordings to join two of them; raise it or set prepare.compositions: 0"
            )
        sources = rng.permutation(pairs[int(rng.integers(len(pairs)))])
        choices = [by_source[split, str(source)] for source in sources]
        one, other = (alike[int(rng.integers(len(alike)))] for alike in choices)
        yield one, other
