"""The built-in corpus: a procedural world of sounding things whose truth is known.

Every clip is drawn in two steps. A *recording* is one source with its physical draw (a pitch jitter and a timbre);
its *takes* differ in the attributes that captions name. All takes of one recording lie in one split, so a test clip
never shares its thing with training. An attribute that a caption does not name stays at a middle value and is
missing from `attributes`: what the caption says is the whole truth.

Seen: the source itself, `size` (small | large: pitch), `material` (metal | wood: decay and brightness), `scene`
(outdoor | indoor: dry or reverberant). Heard only: `pace` (slow | fast: events or swells a second), `loudness`
(quiet | loud), `envelope` (steady | fading | growing), `count` (once | twice | three, for events). Two sources in a
row instead have `pitch_order` (low_high | high_low) and `loudness_order` (quiet_loud | loud_quiet).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.corpus import soundworld_sources as models
from stages.corpus.reprogramming import held_out_pairs, joined_then, mixed_while, part_samples
from stages.corpus.signals import Waveform, at_level, centroid, generator, limited, ramped, reverberated
from stages.corpus.soundworld_captions import MAX_WORDS, MIN_WORDS, caption_of_one, caption_of_two, noun_phrase
from stages.corpus.soundworld_words import WORDS
from stages.formats.audio import SAMPLE_RATE
from stages.params.data import Prepare
from stages.plumbing.progress import progress

SOURCES: dict[str, models.Source] = {
    "bell": models.bell,
    "bird": models.bird,
    "clock": models.clock,
    "cricket": models.cricket,
    "dog": models.dog,
    "drum": models.drum,
    "engine": models.engine,
    "fire": models.fire,
    "footsteps": models.footsteps,
    "frog": models.frog,
    "phone": models.phone,
    "rain": models.rain,
    "siren": models.siren,
    "train": models.train,
    "waves": models.waves,
    "wind": models.wind,
}
SIZE_PITCH = {"small": 2**0.65, "": 1.0, "large": 2**-0.65}
MATERIAL_RING = {"metal": 2.2, "": 1.0, "wood": 0.35}
MATERIAL_BRIGHTNESS = {"metal": 1.25, "": 1.0, "wood": 0.7}
PACE_RATE = {"slow": 1.25, "": 2.4, "fast": 4.6}
COUNT_SPACING = {"slow": 0.8, "": 0.55, "fast": 0.3}
LOUDNESS = {"quiet": -33.0, "": -25.0, "loud": -17.0}
ENVELOPE_RAMP = {"steady": 0.0, "": 0.0, "fading": -20.0, "growing": 20.0}
COUNTS = {"once": 1, "twice": 2, "three": 3}
HEARD = {"pace": ["slow", "fast"], "loudness": ["quiet", "loud"], "envelope": ["steady", "fading", "growing"]}
ROOM_TONE = -52.0  # dBFS of the noise that every recording has: nothing real falls into digital silence
TAKES = 4
CLEAR_OCTAVES = 0.8


@dataclass(frozen=True)
class Recording:
    """One sounding thing: a source with its own pitch and timbre, in one split."""

    name: str
    source: str
    split: str
    pitch: float
    timbre: float


def soundworld(prepare: Prepare) -> Iterator[tuple[dict[str, Any], Waveform]]:
    """Yield `prepare.clips` rows of metadata with their waveforms `[samples]` in [-1, 1], ordered by id.

    Rows have the columns of data/corpus/metadata.jsonl. Each clip's draws depend on `prepare.seed` and its id.
    """
    joined = round(prepare.clips * prepare.compositions)
    takes = max(1, min(TAKES, (prepare.clips - joined) // (4 * len(SOURCES))))
    recordings = draw_recordings(prepare, -(-(prepare.clips - joined) // takes))
    for number in progress(range(prepare.clips), "soundworld"):
        clip = f"soundworld-{number:05d}"
        rng = generator(prepare.seed, clip)
        if number < prepare.clips - joined:
            row, wave = _single(clip, recordings[number // takes], prepare, rng)
        else:
            position = (number - (prepare.clips - joined)) / joined
            test, valid = prepare.test_share, prepare.valid_share
            split = "test" if position < test else "valid" if position < test + valid else "train"
            row, wave = _composition(clip, number, split, recordings, prepare, rng)
        tone = generator(prepare.seed, "room tone", clip).standard_normal(len(wave))
        yield row, np.clip(wave + 10 ** (ROOM_TONE / 20) * tone, -0.99, 0.99)


def draw_recordings(prepare: Prepare, count: int) -> list[Recording]:
    """Draw `count` recordings, all sources in turn; the first of them make up test, the next valid, the rest train.

    Sources are equally frequent in each split up to one recording, as far as `count` reaches.
    """
    names = sorted(SOURCES)
    test, valid = round(prepare.test_share * count), round(prepare.valid_share * count)
    recordings = []
    for number in range(count):
        turn, place = divmod(number, len(names))
        source = names[generator(prepare.seed, "order", turn).permutation(len(names))[place]]
        split = "test" if number < test else "valid" if number < test + valid else "train"
        rng = generator(prepare.seed, "recording", source, turn)
        pitch, timbre = 2 ** rng.uniform(-0.12, 0.12), rng.uniform(-1, 1)
        recordings.append(Recording(f"{source}-{turn:03d}", source, split, pitch, timbre))
    return recordings


def _single(
    clip: str, recording: Recording, prepare: Prepare, rng: np.random.Generator
) -> tuple[dict[str, Any], Waveform]:
    attributes = draw_attributes(recording.source, rng)
    caption = caption_of_one(recording.source, attributes, neutral=bool(rng.random() < 0.5), rng=rng)
    wave = _played(recording, attributes, round(prepare.clip_seconds * SAMPLE_RATE), rng)
    wave = _finished(wave, attributes, rng)
    truth = {key: value for key, value in attributes.items() if key != "place"}
    return _row(clip, recording.split, caption, [recording.source], recording.name, truth), wave


def draw_attributes(source: str, rng: np.random.Generator) -> dict[str, str]:
    """Draw what a take of `source` is like; most attributes are present, and together they fit into a caption."""
    words = WORDS[source]
    seen: dict[str, str] = {}
    if rng.random() < 0.9:
        seen["size"] = str(rng.choice(["small", "large"]))
    if words.materials and rng.random() < 0.75:
        seen["material"] = str(rng.choice(["metal", "wood"]))
    if rng.random() < 0.85 or len(noun_phrase(source, seen, rng).split()) < MIN_WORDS:
        seen["scene"] = str(rng.choice(["outdoor", "indoor"]))
        seen["place"] = str(rng.choice(words.outdoor if seen["scene"] == "outdoor" else words.indoor))
        if len(f"{noun_phrase(source, seen, rng)} {seen['place']}".split()) > MAX_WORDS:
            del seen["scene"], seen["place"]
    heard: dict[str, str] = {}
    if words.counted and rng.random() < 0.4:
        heard["count"] = str(rng.choice(list(COUNTS)))
        if heard["count"] != "once" and rng.random() < 0.6:
            heard["pace"] = str(rng.choice(["slow", "fast"]))
        if rng.random() < 0.7 or "pace" not in heard:
            heard["loudness"] = str(rng.choice(["quiet", "loud"]))
        return seen | heard
    left_out = str(rng.choice(["pace", "loudness", "envelope", "", "", ""]))
    for key, values in HEARD.items():
        if key != left_out:
            heard[key] = str(rng.choice(values))
    return seen | heard


def _played(recording: Recording, attributes: dict[str, str], samples: int, rng: np.random.Generator) -> Waveform:
    """Let a recording's thing sound as `attributes` say, dry and at any level, `[samples]`."""
    material, pace = attributes.get("material", ""), attributes.get("pace", "")
    rate = PACE_RATE[pace] * 2 ** rng.uniform(-0.1, 0.1)
    length = samples / SAMPLE_RATE
    if "count" in attributes:
        count = COUNTS[attributes["count"]]
        spacing = min(COUNT_SPACING[pace], 0.8 * length / count)
        times = rng.uniform(0.05, 0.25) + spacing * np.arange(count)
        rate = 1 / spacing
    else:
        times = rng.uniform(0.02, 0.12) + np.arange(0, length, 1 / rate)
        times = np.maximum(times + rng.uniform(-0.04, 0.04, len(times)) / rate, 0.0)
    draw = models.Draw(
        samples=samples,
        pitch=SIZE_PITCH[attributes.get("size", "")] * recording.pitch,
        timbre=recording.timbre,
        ring=MATERIAL_RING[material],
        brightness=MATERIAL_BRIGHTNESS[material],
        rate=rate,
        times=times,
    )
    return SOURCES[recording.source](draw, rng)


def _finished(wave: Waveform, attributes: dict[str, str], rng: np.random.Generator) -> Waveform:
    """Put a dry sound into its room and give it its envelope and level."""
    if attributes.get("scene") == "indoor":
        wave = reverberated(wave, rng, decay=float(rng.uniform(0.8, 1.1)), wet=0.4)
    wave = ramped(wave, ENVELOPE_RAMP[attributes.get("envelope", "")])
    return at_level(wave, LOUDNESS[attributes.get("loudness", "")] + float(rng.uniform(-1.5, 1.5)))


def _composition(
    clip: str, number: int, split: str, recordings: list[Recording], prepare: Prepare, rng: np.random.Generator
) -> tuple[dict[str, Any], Waveform]:
    """Join two recordings of one split: every other test clip a held-out pair where the split has one."""
    pairs = [(a, b) for a, b in itertools.combinations(recordings, 2) if a.split == b.split and a.source != b.source]
    held_out = held_out_pairs(list(SOURCES))
    seen = [(a, b) for a, b in pairs if frozenset((a.source, b.source)) not in held_out]
    unseen = [(a, b) for a, b in pairs if frozenset((a.source, b.source)) in held_out and a.split == "test"]
    wanted = [pair for pair in (unseen if number % 2 else seen) if pair[0].split == split]
    choices = wanted or [pair for pair in seen if pair[0].split == split] or seen
    if not choices:
        raise ValueError(
            f"prepare.clips={prepare.clips} makes too few recordings to join two of them; raise it or set "
            "prepare.compositions: 0"
        )
    first, second = choices[int(rng.integers(len(choices)))]
    if rng.random() < 0.5:
        first, second = second, first
    # "Wind in small trees" and another source would fill more than seven words.
    sizes = ["" if r.source == "wind" else str(rng.choice(["small", "large"])) for r in (first, second)]
    samples = round(prepare.clip_seconds * SAMPLE_RATE)
    together = bool(rng.random() < 0.5)
    if together:
        attributes, wave = _overlap((first, second), sizes, samples, rng)
    else:
        attributes, wave = _sequence((first, second), sizes, samples, rng)
    sources = [first.source, second.source]
    mention = 1 if rng.random() < 0.5 else -1
    caption = caption_of_two(sources[::mention], sizes[::mention], attributes, together, rng)
    row = _row(clip, first.split, caption, sources, "+".join(sorted((first.name, second.name))), attributes)
    row["composition"] = "while" if together else "then"
    row["held_out_pair"] = frozenset(sources) in held_out
    return row, wave


def _overlap(
    pair: tuple[Recording, Recording], sizes: list[str], samples: int, rng: np.random.Generator
) -> tuple[dict[str, str], Waveform]:
    """Play two recordings at once; two of pace, loudness and envelope hold for both and are named."""
    unnamed = str(rng.choice(["pace", "loudness", "envelope"]))
    attributes = {key: str(rng.choice(values)) for key, values in HEARD.items() if key != unnamed}
    waves = [_played(r, attributes | _sized(size), samples, rng) for r, size in zip(pair, sizes, strict=True)]
    return attributes, _finished(mixed_while(*waves), attributes, rng)


def _sequence(
    pair: tuple[Recording, Recording], sizes: list[str], samples: int, rng: np.random.Generator
) -> tuple[dict[str, str], Waveform]:
    """Play one after the other; the order is named by pitch where they differ clearly, by loudness, or by both."""
    waves = [_played(r, _sized(size), part_samples(samples), rng) for r, size in zip(pair, sizes, strict=True)]
    attributes = {}
    rise = centroid(waves[1]) - centroid(waves[0])
    by_pitch = abs(rise) >= CLEAR_OCTAVES and bool(rng.random() < 0.7)
    if by_pitch:
        attributes["pitch_order"] = "low_high" if rise > 0 else "high_low"
    if not by_pitch or rng.random() < 0.4:
        attributes["loudness_order"] = str(rng.choice(["quiet_loud", "loud_quiet"]))
    levels = attributes.get("loudness_order", "_").split("_")
    first, second = (at_level(wave, LOUDNESS[name]) for wave, name in zip(waves, levels, strict=True))
    return attributes, limited(joined_then(first, second)[:samples])


def _sized(size: str) -> dict[str, str]:
    return {"size": size} if size else {}


def _row(
    clip: str, split: str, caption: str, sources: list[str], recording: str, attributes: dict[str, str]
) -> dict[str, Any]:
    return {
        "file_name": f"{clip}.flac",
        "id": clip,
        "split": split,
        "caption": caption,
        "sources": sources,
        "composition": None,
        "held_out_pair": False,
        "recording": recording,
        "attributes": attributes,
    }
