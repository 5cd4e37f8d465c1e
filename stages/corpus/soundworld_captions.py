"""Captions of soundworld: plain English sentences from a clip's attributes, in many wordings.

A caption names exactly the attributes that it is given. What is seen (source, size, material, scene) and what is
heard (pace, loudness, envelope, count, order) each fill three to seven words and share none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from stages.corpus.soundworld_words import (
    ADJECTIVE,
    ADVERB,
    ENVELOPE,
    MATERIAL,
    NEUTRAL_COUNTED,
    NEUTRAL_VERBS,
    PITCH,
    SIZE,
    TIMES,
    TOGETHER,
    WORDS,
)

Option = TypeVar("Option")
Attributes = Mapping[str, str]
MIN_WORDS, MAX_WORDS = 3, 7


def caption_of_one(source: str, attributes: Attributes, neutral: bool, rng: np.random.Generator) -> str:
    """Write a caption for one source.

    For example "A small iron bell in a church rings slowly and softly, fading away."

    Args:
        source: a key of `WORDS`.
        attributes: what to name; `place` (a phrase) stands for `scene`.
        neutral: use a verb that does not give the source away ("sounds", "repeats").
        rng: picks the wording.
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
    """Write a caption for two sources.

    For example "A small dog and large waves are heard, first softly, then loudly."

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
