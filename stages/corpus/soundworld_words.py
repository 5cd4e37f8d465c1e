"""What soundworld's sources are called, where they stand and what they do: the words of its captions.

No word of a visual phrase (nouns, places, "a", "in", "on", "by" ...) occurs among the heard words below, so that
every caption can be split into a visual and a heard part without a shared word.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


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
    with open(Path(__file__).with_name("soundworld_words.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
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
        for row in rows
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
