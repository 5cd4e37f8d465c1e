"""The built-in corpus: a procedural world of sounding things whose truth is known.

Every clip is drawn in two steps. A *recording* is one source with its physical draw (a pitch jitter and a timbre);
its *takes* differ in the attributes that captions name. All takes of one recording lie in one split, so a test clip
never shares its thing with training. An attribute that a caption does not name stays at a middle value and is
missing from `attributes`: what the caption says is the whole truth.

Beside train, valid and test stands `foundation`, as large as wanted: what towers, judges, codec and backbone learn from
where it is there, as published ones learned from other and more data than an experiment has.

Seen: the source itself, `size` (small | large: pitch), `material` (metal | wood: decay and brightness), `scene`
(outdoor | indoor: dry or reverberant). Heard only: `pace` (slow | fast: events or swells a second), `loudness`
(quiet | loud), `envelope` (steady | fading | growing), `count` (once | twice | three, for events). Two sources in a
row instead have `pitch_order` (low_high | high_low) and `loudness_order` (quiet_loud | loud_quiet).

Two sources are joined after Make-An-Audio's prompt reprogramming (Huang et al. 2023, section 3.2), which teaches order
and overlap: "X, then Y" with a short crossfade, "X while Y" mixed. Some pairs are held out of training, so that the
test split shows whether a system composes what it never heard composed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from stages.corpus import soundworld_sources as models
from stages.corpus.signals import Waveform, at_level, centroid, generator, limited, ramped, reverberated
from stages.corpus.soundworld_captions import MAX_WORDS, MIN_WORDS, WORDS, caption_of_one, caption_of_two, noun_phrase
from stages.corpus.soundworld_plan import Planned, Recording, held_out_pairs
from stages.formats.audio import SAMPLE_RATE
from stages.params.data import Attribute, Prepare, SoundSource

SOURCES: dict[SoundSource, models.Source] = {name: getattr(models, name) for name in get_args(SoundSource)}
SIZE_PITCH = {"small": 2**0.65, "": 1.0, "large": 2**-0.65}
MATERIAL_RING = {"metal": 2.2, "": 1.0, "wood": 0.35}
MATERIAL_BRIGHTNESS = {"metal": 1.25, "": 1.0, "wood": 0.7}
PACE_RATE = {"slow": 1.25, "": 2.4, "fast": 4.6}
COUNT_SPACING = {"slow": 0.8, "": 0.55, "fast": 0.3}
LOUDNESS = {"quiet": -33.0, "": -25.0, "loud": -17.0}
ENVELOPE_RAMP = {"steady": 0.0, "": 0.0, "fading": -20.0, "growing": 20.0}
COUNTS = {"once": 1, "twice": 2, "three": 3}
HEARD = {"pace": ["slow", "fast"], "loudness": ["quiet", "loud"], "envelope": ["steady", "fading", "growing"]}
ROOM_TONE = -60.0  # dBFS of the noise that every recording has: nothing real falls into digital silence
CLEAR_OCTAVES = 0.8
CROSSFADE = int(0.04 * SAMPLE_RATE)


def make(planned: Planned, prepare: Prepare) -> tuple[dict[str, Any], Waveform]:
    """Make a clip: its row of data/corpus/metadata.jsonl and its waveform `[samples]` in [-1, 1].

    All that is drawn depends on `prepare.seed` and the clip's id.
    """
    rng = generator(prepare.seed, planned.id)
    kind = _single if len(planned.recordings) == 1 else _composition
    row, wave = kind(planned, prepare, rng)
    tone = generator(prepare.seed, "room tone", planned.id).standard_normal(len(wave))
    return row, np.clip(wave + 10 ** (ROOM_TONE / 20) * tone, -0.99, 0.99)


def _single(planned: Planned, prepare: Prepare, rng: np.random.Generator) -> tuple[dict[str, Any], Waveform]:
    (recording,) = planned.recordings
    attributes = draw_attributes(recording.source, prepare.attributes, rng)
    caption = caption_of_one(recording.source, attributes, neutral=bool(rng.random() < 0.5), rng=rng)
    wave = _played(recording, attributes, samples_of(prepare), rng)
    wave = _finished(wave, attributes, rng)
    truth = {key: value for key, value in attributes.items() if key != "place"}
    return _row(planned, prepare, caption, truth), wave


def draw_attributes(source: str, named: Sequence[Attribute], rng: np.random.Generator) -> dict[str, str]:
    """Draw what a take of `source` is like; most of the `named` are present, and together they fit into a caption.

    `place` is where it stands: outdoors and no attribute in a world without `scene`.
    """
    words = WORDS[source]
    seen: dict[str, str] = {}
    if "size" in named and rng.random() < 0.9:
        seen["size"] = str(rng.choice(["small", "large"]))
    if "material" in named and words.materials and rng.random() < 0.75:
        seen["material"] = str(rng.choice(["metal", "wood"]))
    if rng.random() < 0.85 or len(noun_phrase(source, seen, rng).split()) < MIN_WORDS:
        indoor = "scene" in named and rng.random() < 0.5
        place = str(rng.choice(words.indoor if indoor else words.outdoor))
        if len(f"{noun_phrase(source, seen, rng)} {place}".split()) <= MAX_WORDS:
            seen["place"] = place
            if "scene" in named:
                seen["scene"] = "indoor" if indoor else "outdoor"
    heard: dict[str, str] = {}
    if "count" in named and words.counted and rng.random() < 0.4:
        heard["count"] = str(rng.choice(list(COUNTS)))
        if "pace" in named and heard["count"] != "once" and rng.random() < 0.6:
            heard["pace"] = str(rng.choice(["slow", "fast"]))
        if "loudness" in named and (rng.random() < 0.7 or "pace" not in heard):
            heard["loudness"] = str(rng.choice(["quiet", "loud"]))
        return seen | heard
    return seen | _heard_of(named, 0.5, rng)


def _heard_of(named: Sequence[Attribute], complete: float, rng: np.random.Generator) -> dict[str, str]:
    """Draw pace, loudness and envelope as far as they are `named`, all three with a chance of `complete`."""
    kept = [key for key in HEARD if key in named]
    if len(kept) == len(HEARD) and rng.random() >= complete:
        del kept[int(rng.integers(len(kept)))]
    return {key: str(rng.choice(HEARD[key])) for key in kept}


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


def _composition(planned: Planned, prepare: Prepare, rng: np.random.Generator) -> tuple[dict[str, Any], Waveform]:
    first, second = planned.recordings
    # "Wind in small trees" and another source would fill more than seven words.
    sizes = [
        str(rng.choice(["small", "large"])) if "size" in prepare.attributes and r.source != "wind" else ""
        for r in (first, second)
    ]
    samples = samples_of(prepare)
    together = "order" not in prepare.attributes or bool(rng.random() < 0.5)
    if together:
        attributes = _heard_of(prepare.attributes, 0.0, rng)
        looks = [attributes | {"size": size} for size in sizes]
        waves = [_played(r, look, samples, rng) for r, look in zip(planned.recordings, looks, strict=True)]
        wave = _finished(at_level(waves[0], -20.0) + at_level(waves[1], -20.0), attributes, rng)
    else:
        attributes, wave = _sequence((first, second), sizes, samples, rng)
    sources = [first.source, second.source]
    mention = 1 if rng.random() < 0.5 else -1
    caption = caption_of_two(sources[::mention], sizes[::mention], attributes, together, rng)
    return _row(planned, prepare, caption, attributes) | {"composition": "while" if together else "then"}, wave


def _sequence(
    pair: tuple[Recording, Recording], sizes: list[str], samples: int, rng: np.random.Generator
) -> tuple[dict[str, str], Waveform]:
    """Play one after the other; the order is named by pitch where they differ clearly, by loudness, or by both."""
    half = (samples + CROSSFADE) // 2
    waves = [_played(r, {"size": size}, half, rng) for r, size in zip(pair, sizes, strict=True)]
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


def joined_then(first: Waveform, second: Waveform) -> Waveform:
    """Play `first`, then `second`, `CROSSFADE` samples of them overlapping with equal power."""
    fade = np.sin(0.5 * np.pi * np.linspace(0, 1, CROSSFADE))
    overlap = first[-CROSSFADE:] * fade[::-1] + second[:CROSSFADE] * fade
    return np.concatenate([first[:-CROSSFADE], overlap, second[CROSSFADE:]])


def samples_of(prepare: Prepare) -> int:
    """Samples of a clip."""
    return round(prepare.clip_seconds * SAMPLE_RATE)


def _row(planned: Planned, prepare: Prepare, caption: str, attributes: dict[str, str]) -> dict[str, Any]:
    sources = [recording.source for recording in planned.recordings]
    return {
        "file_name": f"{planned.id}.flac",
        "id": planned.id,
        "split": planned.split,
        "caption": caption,
        "sources": sources,
        "composition": None,
        "held_out_pair": frozenset(sources) in held_out_pairs(prepare.sources),
        "recording": "+".join(sorted(recording.name for recording in planned.recordings)),
        "attributes": attributes,
    }
