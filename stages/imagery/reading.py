"""Reads a visual part as a picture: which things, how large, of what material, how many, and where.

This is a reading by word lists, not a parser: `nouns.tsv` and the names of the `emoji` package say what has a
pictogram, `places.tsv` what is drawn as scenery, `materials.tsv` and `words.json` what a thing looks like.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import emoji
import simplemma

MAX_NAME_WORDS = 3
OPENMOJI_VERSION = 17  # of Unicode's emoji: later ones have no glyph yet


@dataclass(frozen=True)
class Place:
    """Scenery: one row of `places.tsv`; `support` is a drawn prop or a pictogram on which the things stand."""

    name: str
    indoor: bool
    upper: str
    lower: str
    pattern: str
    features: str
    support: str


@dataclass(frozen=True)
class Thing:
    """One noun with its looks; `pictogram` is None where nothing fits and the word itself is drawn."""

    noun: str
    pictogram: str | None
    size: str  # small | normal | large
    materials: tuple[str, ...]
    count: int
    where: str  # ground | air (flies, but perches on a support) | sky (never stands)


@dataclass(frozen=True)
class Scene:
    """What a visual part asks to be drawn. `inside` says that the things are in the support, not on it."""

    things: tuple[Thing, ...]
    place: Place | None
    support: Thing | None
    inside: bool
    night: bool

    @property
    def missing(self) -> list[str]:
        """Nouns that have no pictogram."""
        return [thing.noun for thing in self.things if thing.pictogram is None]


@dataclass
class _Looks:
    """What has been said of the noun that is still to come."""

    size: str = "normal"
    materials: tuple[str, ...] = ()
    count: int = 0


def read_scene(visual_part: str) -> Scene:
    """Read a visual part, for example "a small brass bell in a church" or "men and children".

    Raises ValueError where it names nothing that could be drawn, not even as a word.
    """
    words = re.findall(r"[^\W_]+|,", visual_part.lower().replace("'s", "").replace("’s", ""))
    lists, tints, places = _word_lists(), material_rows(), place_rows()
    things: list[Thing] = []
    place: Place | None = None
    support: Thing | None = None
    inside = night = False
    preposition = ""
    looks = _Looks()
    at = 0
    while at < len(words):
        word, length = words[at], 1
        noun, name_length = _longest_name(words[at:])
        final = words[at + name_length - 1]
        if word in lists["night"]:
            night = True
        elif word in lists["small"] or word in lists["large"]:
            looks.size = "small" if word in lists["small"] else "large"
        elif word in tints and not _stands_alone(word, words[at + 1 :]):
            looks.materials += (word,)
        elif word in lists["groups"] and words[at + 1 : at + 2] == ["of"]:
            looks.count, length = 4, 2
        elif word in _counts() or word.isdigit():
            looks.count = _counts().get(word) or max(1, min(int(word), 5))
        elif word == ",":
            preposition = preposition or ","
        elif noun in places and _is_place(noun, preposition):
            found, length = places[noun], name_length
            if place is None or (place.support and not found.support):
                place = found
            if found.support and support is None:
                count = looks.count or (2 if noun == "tree" and _is_plural(final) else 1)
                support = Thing(noun, found.support, looks.size, looks.materials, count, "ground")
                inside = preposition in lists["in"]
            looks, preposition = _Looks(), ""
        elif noun in places and _is_noun_modifier(words[at + name_length :]):
            place, length = place or places[noun], name_length
        elif word in lists["on"] or word in lists["in"] or word in lists["beside"]:
            preposition, looks = word, _Looks()
        elif word in ("and", "or", "then", "while"):
            looks, preposition = _Looks(), ""
        elif _is_nameable(noun, final):
            length = name_length
            things.append(_thing(noun, final, looks))
            looks, preposition = _Looks(), ""
        at += length
    if not any(word != "," for word in words):
        raise ValueError(f"visual part {visual_part!r} names nothing to draw; give it a noun")
    if not things and place is None:
        things = [Thing(word, None, "normal", (), 1, "ground") for word in words if word != ","][:3]
    return Scene(tuple(things), place, support, inside, night)


def pictogram_of(noun: str) -> str | None:
    """Return the single character whose OpenMoji glyph shows `noun` (singular, lower case), or None."""
    row = noun_rows().get(noun)
    return row[0] if row else _emoji_names().get(noun)


def pictogram_name(pictogram: str) -> str:
    """Return the `emoji` package's own English name of a pictogram; drawn props are called by their name."""
    for form in (pictogram, pictogram + "\ufe0f"):
        if form in emoji.EMOJI_DATA:
            return str(emoji.EMOJI_DATA[form]["en"]).strip(":").replace("_", " ")
    return pictogram


@cache
def noun_rows() -> dict[str, tuple[str, int, str]]:
    """`nouns.tsv`: noun -> pictogram, how many a plural shows, where it is (`Thing.where`)."""
    return {row[0]: (row[1], int(row[2]), row[3]) for row in _table("nouns.tsv")}


@cache
def place_rows() -> dict[str, Place]:
    """`places.tsv`: place -> scenery."""
    return {
        row[0]: Place(row[0], row[1] == "indoor", *(row[2:] + [""] * (7 - len(row)))) for row in _table("places.tsv")
    }


@cache
def material_rows() -> dict[str, tuple[str, str, str]]:
    """`materials.tsv`: word -> shade, light (both "#rrggbb"), texture."""
    return {row[0]: (row[1], row[2], row[3]) for row in _table("materials.tsv")}


def _table(name: str) -> list[list[str]]:
    text = (resources.files("stages.imagery") / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


@cache
def _words_file() -> dict[str, dict[str, int] | list[str]]:
    loaded: dict[str, dict[str, int] | list[str]] = json.loads(
        (resources.files("stages.imagery") / "words.json").read_text(encoding="utf-8")
    )
    return loaded


@cache
def _word_lists() -> dict[str, frozenset[str]]:
    lists = {key: lines for key, lines in _words_file().items() if isinstance(lines, list)}
    return {key: frozenset(" ".join(lines).split()) for key, lines in lists.items()}


@cache
def _counts() -> dict[str, int]:
    counts = _words_file()["counts"]
    assert isinstance(counts, dict)
    return counts


@cache
def _emoji_names() -> dict[str, str]:
    """Names and aliases of single-character pictograms that show a thing.

    Joined sequences are left out, since drawing them needs a text shaper that not every machine has; so are signs:
    flags, letters, keycaps, arrows, zodiac and buttons.
    """
    names: dict[str, str] = {}
    for sequence, data in emoji.EMOJI_DATA.items():
        character = sequence.removesuffix("\ufe0f")
        if data["status"] != emoji.STATUS["fully_qualified"] or data["E"] > OPENMOJI_VERSION:
            continue
        if len(character) != 1 or _is_sign(ord(character)):
            continue
        for name in (data["en"], *data.get("alias", ())):
            plain = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
            names.setdefault(plain, character)
    return names


def _is_sign(point: int) -> bool:
    signs = ((0x1F100, 0x1F2FF), (0x2190, 0x21FF), (0x2648, 0x2653), (0x1F500, 0x1F507), (0x1F519, 0x1F524))
    buttons = ((0x23E9, 0x23EF), (0x23F8, 0x23FA), (0x25A0, 0x25FF), (0x2753, 0x2757))
    more = ((0x1F530, 0x1F53D), (0x2B05, 0x2B1C), (0x0, 0xFF), (0x3000, 0x33FF), (0x2790, 0x27BF))
    return any(first <= point <= last for first, last in signs + more + buttons)


def _longest_name(words: list[str]) -> tuple[str, int]:
    """Return the longest known name at the start of `words` (singular), or its first word, and its length."""
    for length in range(min(MAX_NAME_WORDS, len(words)), 0, -1):
        for last in dict.fromkeys((words[length - 1], _singular(words[length - 1]))):
            name = " ".join([*words[: length - 1], last])
            if name in place_rows() or pictogram_of(name):
                return name, length
    return _singular(words[0]), 1


@cache
def _singular(word: str) -> str:
    return str(simplemma.lemmatize(word, lang="en"))


def _is_plural(word: str) -> bool:
    return word != _singular(word) and not word.endswith("ing") and not word.endswith("ed")


def _is_place(noun: str, preposition: str) -> bool:
    """Say whether a word of `places.tsv` is meant as a place: after a preposition, or where nothing else shows it.

    What follows a comma may be scenery ("wind in trees, a lake"), but is not what the things stand on.
    """
    if preposition and preposition != ",":
        return True
    return not place_rows()[noun].support and (preposition == "," or pictogram_of(noun) is None)


def _stands_alone(material: str, rest: list[str]) -> bool:
    """Say whether a material is meant as a thing: "metal on wood" against "a metal bell"."""
    lists = _word_lists()
    ends = not rest or rest[0] in ("and", ",") or any(rest[0] in lists[key] for key in ("on", "in", "beside"))
    return ends and pictogram_of(material) is not None


def _is_noun_modifier(rest: list[str]) -> bool:
    """Say whether the next word is a noun that a place modifies: "church bells", "street musicians"."""
    if not rest:
        return False
    noun, _ = _longest_name(rest)
    return pictogram_of(noun) is not None and not any(rest[0] in words for words in _word_lists().values())


def _is_nameable(noun: str, word: str) -> bool:
    """Say whether a word is drawn: it has a pictogram, or it looks like a noun that lacks one."""
    if noun in _word_lists()["skipped"] or len(noun) < 2:
        return False
    if pictogram_of(noun):
        return True
    is_verb_form = word.endswith("ed") or (word.endswith("ing") and noun != word)
    return not noun.endswith("ly") and not is_verb_form


def _thing(noun: str, final: str, looks: _Looks) -> Thing:
    pictogram = pictogram_of(noun)
    _, several, where = noun_rows().get(noun, ("", 3, "ground"))
    plural = _is_plural(final) or noun in _word_lists()["groups"]
    materials = looks.materials or (("black",) if noun == "crow" else ())
    count = looks.count or (several if plural else 1)
    return Thing(noun, pictogram, looks.size, materials, count if pictogram else 1, where)
