"""Parses a visual part into a scene: which things, how large, of what material, how many, and where.

It goes by word lists: `nouns.tsv` and the names of the `emoji` package say what has a pictogram, `places.tsv` what is
drawn as scenery, `materials.tsv` and `words.tsv` what a thing looks like.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import emoji
import simplemma

from stages.formats.files import read_tsv

MAX_NAME_WORDS = 3
OPENMOJI_VERSION = 17  # of Unicode's emoji: later ones have no glyph yet
# Unicode's blocks of signs that show no thing: flags, letters, keycaps, arrows, zodiac, buttons.
SIGNS = (
    *((0x1F100, 0x1F2FF), (0x2190, 0x21FF), (0x2648, 0x2653), (0x1F500, 0x1F507), (0x1F519, 0x1F524), (0x23E9, 0x23EF)),
    *((0x23F8, 0x23FA), (0x25A0, 0x25FF), (0x2753, 0x2757), (0x1F530, 0x1F53D), (0x2B05, 0x2B1C), (0x0, 0xFF)),
    *((0x3000, 0x33FF), (0x2790, 0x27BF)),
)


@dataclass(frozen=True)
class Scenery:
    """One row of `places.tsv`; `support` is a drawn prop or a pictogram on which the things stand, or ""."""

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
    size: str = "normal"  # small | normal | large
    materials: tuple[str, ...] = ()
    count: int = 1
    where: str = "ground"  # ground | air (flies, but perches on a support) | sky (never stands)


@dataclass(frozen=True)
class Scene:
    """What a visual part asks to be drawn. `inside` says that the things are in the support, not on it."""

    things: tuple[Thing, ...]
    scenery: Scenery | None
    support: Thing | None
    inside: bool

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


def parse(visual_part: str) -> Scene:
    """Parse a visual part, for example "a small brass bell in a church" or "men and children".

    Raises ValueError where it names nothing that could be drawn, not even as a word.
    """
    words = re.findall(r"[^\W_]+|,", visual_part.lower().replace("'s", "").replace("’s", ""))
    lists, places, counts = word_lists(), place_rows(), word_counts()
    things: list[Thing] = []
    scenery: Scenery | None = None
    support: Thing | None = None
    inside = False
    preposition = ""
    looks = _Looks()
    at = 0
    while at < len(words):
        word, rest = words[at], words[at + 1 :]
        noun, length = _longest_name(words[at:])
        final, after = words[at + length - 1], words[at + length :]
        if word in lists["small"] or word in lists["large"]:
            looks.size, length = "small" if word in lists["small"] else "large", 1
        elif word in material_rows() and not _stands_alone(word, rest):
            looks.materials, length = (*looks.materials, word), 1
        elif word in lists["groups"] and rest[:1] == ["of"]:
            looks.count, length = 4, 2
        elif word in counts or word.isdigit():
            looks.count, length = counts.get(word) or max(1, min(int(word), 5)), 1
        elif word == ",":
            preposition, length = preposition or ",", 1
        elif noun in places and _is_place(noun, preposition):
            found = places[noun]
            if scenery is None or (scenery.support and not found.support):
                scenery = found
            if found.support and support is None:
                count = looks.count or (2 if noun == "tree" and _is_plural(final) else 1)
                support = Thing(noun, found.support, looks.size, looks.materials, count)
                inside = preposition in lists["in"]
            looks, preposition = _Looks(), ""
        elif noun in places and _modifies(after):
            scenery = scenery or places[noun]
        elif word in lists["on"] | lists["in"] | lists["beside"]:
            preposition, looks, length = word, _Looks(), 1
        elif word in ("and", "or", "then", "while"):
            preposition, looks, length = "", _Looks(), 1
        elif _is_nameable(noun, final):
            things.append(_thing(noun, final, looks))
            preposition, looks = "", _Looks()
        else:
            length = 1
        at += length
    named = [word for word in words if word != ","]
    if not named:
        raise ValueError(f"visual part {visual_part!r} names nothing to draw; give it a noun")
    if not things and scenery is None:
        things = [Thing(word, None) for word in named if len(word) > 1][:3] or [Thing(named[0], None)]
    return Scene(tuple(things), scenery, support, inside)


def pictogram_of(noun: str) -> str | None:
    """Return the single character whose OpenMoji glyph shows `noun` (singular, lower case), or None."""
    row = noun_rows().get(noun)
    return row[0] if row else _emoji_names().get(noun)


def pictogram_name(pictogram: str) -> str:
    """Return the `emoji` package's own English name of a pictogram; drawn props are called by their name."""
    return emoji.demojize(pictogram).strip(":").replace("_", " ")


@cache
def noun_rows() -> dict[str, tuple[str, int, str]]:
    """`nouns.tsv`: noun -> pictogram, how many a plural shows, where it is (`Thing.where`).

    Its column `closest` marks what OpenMoji lacks: the pictogram is of the nearest thing.
    """
    return {row["noun"]: (row["pictogram"], int(row["several"]), row["where"]) for row in _table("nouns.tsv")}


@cache
def place_rows() -> dict[str, Scenery]:
    """`places.tsv`: place -> scenery."""
    rows = (row.values() for row in _table("places.tsv"))
    return {name: Scenery(name, setting == "indoor", *looks) for name, setting, *looks in rows}


@cache
def material_rows() -> dict[str, tuple[str, str, str]]:
    """`materials.tsv`: word -> shade, light (both "#rrggbb"), texture."""
    return {row["word"]: (row["shade"], row["light"], row["texture"]) for row in _table("materials.tsv")}


@cache
def word_lists() -> dict[str, frozenset[str]]:
    """The lists of `words.tsv`: `small`, `large`, `on`, `in`, `beside`, `groups`, `skipped`."""
    return {row["list"]: frozenset(row["words"].split()) for row in _table("words.tsv") if not row["list"].isdigit()}


@cache
def word_counts() -> dict[str, int]:
    """How many each number word shows: the lists of `words.tsv` that are called by a number."""
    rows = [row for row in _table("words.tsv") if row["list"].isdigit()]
    return {word: int(row["list"]) for row in rows for word in row["words"].split()}


def _table(name: str) -> list[dict[str, str]]:
    return read_tsv(Path(__file__).with_name(name))


@cache
def _emoji_names() -> dict[str, str]:
    """Names and aliases of pictograms of one character: joined ones need a text shaper that not every machine has."""
    names: dict[str, str] = {}
    for sequence, data in emoji.EMOJI_DATA.items():
        character = sequence.removesuffix("\ufe0f")
        if data["status"] != emoji.STATUS["fully_qualified"] or data["E"] > OPENMOJI_VERSION or len(character) != 1:
            continue
        if not any(first <= ord(character) <= last for first, last in SIGNS):
            for name in (data["en"], *data.get("alias", ())):
                names.setdefault(re.sub(r"[^a-z0-9]+", " ", name.lower()).strip(), character)
    return names


def _longest_name(words: Sequence[str]) -> tuple[str, int]:
    """Return the longest known name at the start of `words` (singular), or its first word, and its length."""
    for length in range(min(MAX_NAME_WORDS, len(words)), 0, -1):
        for last in (words[length - 1], _singular(words[length - 1])):
            name = " ".join([*words[: length - 1], last])
            if name in place_rows() or pictogram_of(name):
                return name, length
    return _singular(words[0]), 1


@cache
def _singular(word: str) -> str:
    return str(simplemma.lemmatize(word, lang="en"))


def _is_plural(word: str) -> bool:
    return word != _singular(word) and not word.endswith(("ing", "ed"))


def _is_place(noun: str, preposition: str) -> bool:
    """Say whether a word of `places.tsv` is meant as a place: after a preposition, or where nothing else shows it.

    What follows a comma may be scenery ("wind in trees, a lake"), but is not what the things stand on.
    """
    if preposition and preposition != ",":
        return True
    return not place_rows()[noun].support and (preposition == "," or pictogram_of(noun) is None)


def _stands_alone(material: str, rest: Sequence[str]) -> bool:
    """Say whether a material is meant as a thing: "metal on wood" against "a metal bell"."""
    lists = word_lists()
    ends = not rest or rest[0] in lists["on"] | lists["in"] | lists["beside"] | {"and", ","}
    return ends and pictogram_of(material) is not None


def _modifies(rest: Sequence[str]) -> bool:
    """Say whether a place only describes the noun that follows: "church bells", "street musicians"."""
    if not rest or any(rest[0] in words for words in word_lists().values()):
        return False
    return pictogram_of(_longest_name(rest)[0]) is not None


def _is_nameable(noun: str, word: str) -> bool:
    """Say whether a word is drawn: it has a pictogram, or it looks like a noun that lacks one."""
    if noun in word_lists()["skipped"] or len(noun) < 2:
        return False
    is_verb_form = word.endswith("ed") or (word.endswith("ing") and noun != word)
    return bool(pictogram_of(noun)) or not (noun.endswith("ly") or is_verb_form)


def _thing(noun: str, final: str, looks: _Looks) -> Thing:
    pictogram = pictogram_of(noun)
    _, several, where = noun_rows().get(noun, ("", 3, "ground"))
    plural = _is_plural(final) or noun in word_lists()["groups"]
    materials = looks.materials or (("black",) if noun == "crow" else ())
    count = looks.count or (several if plural else 1)
    return Thing(noun, pictogram, looks.size, materials, count if pictogram else 1, where)
