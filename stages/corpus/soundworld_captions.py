"""Captions of soundworld: plain English sentences from a clip's attributes, in many wordings.

A caption names exactly the attributes that it is given. What is seen (source, size, material, scene) and what is
heard (pace, loudness, envelope, count, order) each fill three to seven words. No word of a visual phrase (nouns,
places, "a", "in", "on" ...) occurs among the words for what is heard, so that every caption can be split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from stages.formats.files import read_tsv

Option = TypeVar("Option")
Attributes = Mapping[str, str]
MIN_WORDS, MAX_WORDS = 3, 7


@dataclass(frozen=True)
class Words:
    """One source's words. `noun` may hold `{size}` and `{material}`; verbs are in the form that agrees with it."""

    noun: str
    plural: bool
    article: bool
    materials: bool
    counted: bool  # whether single events can be counted ("twice")
    outdoor: tuple[str, ...]
    indoor: tuple[str, ...]
    verbs: tuple[str, ...]


def _words() -> dict[str, Words]:
    """Each line of soundworld_words.tsv by its source."""
    return {
        row["source"]: Words(
            noun=row["noun"],
            plural=row["plural"] == "yes",
            article=row["article"] == "yes",
            materials=row["materials"] == "yes",
            counted=row["counted"] == "yes",
            outdoor=tuple(row["outdoor"].split(";")),
            indoor=tuple(row["indoor"].split(";")),
            verbs=tuple(row["verbs"].split(";")),
        )
        for row in read_tsv(Path(__file__).with_name("soundworld_words.tsv"))
    }


WORDS = _words()
SIZE = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
MATERIAL = {"metal": ("metal", "steel", "iron"), "wood": ("wooden", "oak", "bamboo")}

# What says nothing about the source, for singular and plural subjects.
NEUTRAL_VERBS = (
    ("sounds", "sound"),
    ("repeats", "repeat"),
    ("is heard", "are heard"),
    ("can be heard", "can be heard"),
    ("keeps going", "keep going"),
    ("persists", "persist"),
    ("continues", "continue"),
)
NEUTRAL_COUNTED = (("sounds", "sound"), ("is heard", "are heard"), ("can be heard", "can be heard"))

ADVERB = {
    "slow": ("slowly", "unhurriedly", "lazily"),
    "fast": ("quickly", "rapidly", "swiftly", "briskly"),
    "quiet": ("quietly", "softly", "faintly", "gently"),
    "loud": ("loudly", "noisily", "powerfully", "strongly"),
    "steady": ("steadily", "evenly", "constantly"),
}
ADJECTIVE = {
    "slow": ("slow", "unhurried", "lazy"),
    "fast": ("quick", "rapid", "fast", "brisk"),
    "quiet": ("quiet", "soft", "faint", "gentle"),
    "loud": ("loud", "powerful", "strong"),
}
ENVELOPE = {
    "steady": ("without change", "never changing", "staying level"),
    "fading": ("fading away", "dying away", "growing fainter", "becoming weaker"),
    "growing": ("growing louder", "getting louder", "becoming stronger", "swelling up"),
}
TIMES = {"once": ("once", "just once", "only once"), "twice": ("twice", "two times"), "three": ("three times",)}

TOGETHER = ("sound together", "are heard together", "can be heard together", "keep going together", "blend together")
PITCH = {"low": ("low", "deep"), "high": ("high", "shrill")}


def caption_of_one(source: str, attributes: Attributes, neutral: bool, rng: np.random.Generator) -> str:
    """Write a caption for one source, as "A small iron bell in a church rings slowly, fading away".

    It names the `attributes`, of which `place` (a phrase) stands for `scene`; with `neutral` its verb does not give the
    source away ("sounds", "repeats").
    """
    subject = noun_phrase(source, attributes, rng)
    place = attributes.get("place", "")
    verb, adverbs, ending = _heard(source, attributes, neutral, rng)
    manner = " and ".join(adverbs)
    heard = " ".join(part for part in (verb, manner) if part)
    tail = f", {ending}" if ending else ""
    form = rng.choice(["plain", "plain", "place_last", "place_first", "manner_first"])
    if form == "place_last" and place:
        sentence = f"{subject} {verb} {place}" + (f", {manner}" if manner else "") + tail
    elif form == "place_first" and place:
        sentence = f"{place}, {subject} {heard}{tail}"
    elif form == "manner_first" and manner and not verb.startswith("make"):
        sentence = f"{manner}, {subject} {place} {verb}{tail}".replace("  ", " ")
    else:
        sentence = f"{subject} {place} {heard}{tail}".replace("  ", " ")
    return sentence[0].upper() + sentence[1:] + "."


def caption_of_two(
    sources: Sequence[str], sizes: Sequence[str], attributes: Attributes, together: bool, rng: np.random.Generator
) -> str:
    """Write a caption for two sources, as "A small dog and large waves are heard, first softly, then loudly".

    `sources` and `sizes` ("": unnamed) come in the order in which they are named, which says nothing about their
    order in time.
    """
    subject = " and ".join(
        noun_phrase(source, {"size": size} if size else {}, rng) for source, size in zip(sources, sizes, strict=True)
    )
    if together:
        adverbs = [_pick(rng, ADVERB[attributes[key]]) for key in ("pace", "loudness") if key in attributes]
        ending = _pick(rng, ENVELOPE[attributes["envelope"]]) if "envelope" in attributes else ""
        heard = f"{_pick(rng, TOGETHER)} {', '.join(adverbs)}".strip() + (f", {ending}" if ending else "")
    else:
        heard = _order(attributes, rng)
    return subject[0].upper() + subject[1:] + " " + heard + "."


def noun_phrase(source: str, attributes: Attributes, rng: np.random.Generator) -> str:
    """Name a source with its size and material, with an article where English wants one: "a huge oak drum"."""
    words = WORDS[source]
    size = _pick(rng, SIZE[attributes["size"]]) if "size" in attributes else ""
    material = _pick(rng, MATERIAL[attributes["material"]]) if "material" in attributes else ""
    noun = words.noun
    if not material:
        # Without a material, what only carries it goes too: "boots on stairs", "raindrops".
        noun = noun.replace(" on a {material} roof", "").replace(" on {material} stairs", "")
    phrase = " ".join(noun.format(size=size, material=material).split())
    if words.article:
        phrase = ("an " if phrase[0] in "aeiou" else "a ") + phrase
    else:
        for vowel in "aeiou":
            phrase = phrase.replace(f" a {vowel}", f" an {vowel}")
    return phrase


def _heard(source: str, attributes: Attributes, neutral: bool, rng: np.random.Generator) -> tuple[str, list[str], str]:
    """Choose verb, adverbs and ending, three to seven words in all."""
    words = WORDS[source]
    while True:
        ending = ""
        if "count" in attributes:
            verb = _pick(rng, NEUTRAL_COUNTED)[words.plural] if neutral else _pick(rng, words.verbs)
            verb = f"{verb} {_pick(rng, TIMES[attributes['count']])}"
        else:
            verb = _pick(rng, NEUTRAL_VERBS)[words.plural] if neutral else _pick(rng, words.verbs)
        adverbs = [_pick(rng, ADVERB[attributes[key]]) for key in ("pace", "loudness") if key in attributes]
        if "envelope" in attributes:
            envelope = attributes["envelope"]
            if envelope == "steady" and len(adverbs) < 2 and rng.random() < 0.5:
                adverbs.append(_pick(rng, ADVERB["steady"]))
            else:
                ending = _pick(rng, ENVELOPE[envelope])
        if neutral and adverbs and "count" not in attributes and rng.random() < 0.25:
            named = [_pick(rng, ADJECTIVE[attributes[key]]) for key in ("pace", "loudness") if key in attributes]
            if named:
                verb = f"{'make' if words.plural else 'makes'} {', '.join(named)} {_pick(rng, ('sounds', 'noises'))}"
                adverbs = []
                ending = _pick(rng, ENVELOPE[attributes["envelope"]]) if "envelope" in attributes else ""
        if adverbs and _count(f"{verb} {' and '.join(adverbs)} {ending}") < MIN_WORDS:
            adverbs[-1] = f"very {adverbs[-1]}"
        if MIN_WORDS <= _count(f"{verb} {' and '.join(adverbs)} {ending}") <= MAX_WORDS:
            return verb, adverbs, ending


def _order(attributes: Attributes, rng: np.random.Generator) -> str:
    """Say in which order two sources come by pitch and loudness, without naming them and without "and"."""
    pitch = attributes["pitch_order"].split("_") if "pitch_order" in attributes else None
    loudness = attributes["loudness_order"].split("_") if "loudness_order" in attributes else None
    if pitch and loudness:
        first, second = (
            f"{_pick(rng, PITCH[p])}, {_pick(rng, ADJECTIVE[q][:2] if q == 'quiet' else ('loud',))}"
            for p, q in zip(pitch, loudness, strict=True)
        )
        return f"{_pick(rng, ('sound', 'come'))} first {first}, then {second}"
    if pitch:
        first, second = (_pick(rng, PITCH[p]) for p in pitch)
    else:
        assert loudness is not None, "a sequence states at least one order"
        first, second = (_pick(rng, ADVERB[q]) for q in loudness)
    return f"{_pick(rng, ('sound', 'are heard', 'can be heard', 'take turns'))}, first {first}, then {second}"


def _count(text: str) -> int:
    return len(text.split())


def _pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]
