"""What soundworld's sources are called, where they stand and what they do: the words of its captions.

No word of a visual phrase (nouns, places, "a", "in", "on", "by" ...) occurs among the heard words below, so that
every caption can be split into a visual and a heard part without a shared word.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """One source's words. `noun` may hold `{material}`; verbs are in the form that agrees with the noun."""

    noun: str
    plural: bool
    outdoor: tuple[str, ...]
    indoor: tuple[str, ...]
    verbs: tuple[str, ...]
    materials: bool = False
    counted: bool = False  # whether single events can be counted ("twice")
    article: bool = True


WORDS = {
    "bell": Words(
        "{size} {material} bell",
        False,
        ("in a garden", "on a hill", "in a field", "on a ship"),
        ("in a church", "in a temple", "in a cave"),
        ("rings", "chimes", "tolls"),
        materials=True,
        counted=True,
    ),
    "bird": Words(
        "{size} bird",
        False,
        ("in a tree", "on a branch", "in a meadow", "on a fence"),
        ("in a church", "in a cave", "in a tunnel"),
        ("chirps", "sings", "tweets"),
        counted=True,
    ),
    "clock": Words(
        "{size} {material} clock",
        False,
        ("on a balcony", "in a garden", "on a street"),
        ("in a hall", "in a church", "in a kitchen"),
        ("ticks", "clicks"),
        materials=True,
    ),
    "cricket": Words(
        "{size} cricket",
        False,
        ("in grass", "in a meadow", "in a field", "on a leaf"),
        ("in a cellar", "in a cave", "in a bathroom"),
        ("chirps", "trills"),
    ),
    "dog": Words(
        "{size} dog",
        False,
        ("in a park", "on a beach", "in a yard", "in snow"),
        ("in a hall", "in a tunnel", "in a kitchen"),
        ("barks", "yaps", "woofs"),
        counted=True,
    ),
    "drum": Words(
        "{size} {material} drum",
        False,
        ("on a beach", "in a park", "on a street"),
        ("in a hall", "in a temple", "in a cave"),
        ("beats", "thumps", "booms"),
        materials=True,
        counted=True,
    ),
    "engine": Words(
        "{size} engine",
        False,
        ("in a yard", "in a field", "on a boat"),
        ("in a garage", "in a factory", "in a tunnel"),
        ("roars", "rumbles", "growls"),
    ),
    "fire": Words(
        "{size} fire",
        False,
        ("in a forest", "on a beach", "in a field"),
        ("in a cave", "in a cellar", "in a hall"),
        ("crackles", "pops", "snaps"),
    ),
    "footsteps": Words(
        "{size} boots on {material} stairs",
        True,
        ("in a garden", "in a park"),
        ("in a tower", "in a hall", "in a cellar"),
        ("step", "stomp", "tramp"),
        materials=True,
        article=False,
    ),
    "frog": Words(
        "{size} frog",
        False,
        ("by a pond", "in a swamp", "on a leaf", "by a river"),
        ("in a cave", "in a tunnel", "in a cellar"),
        ("croaks", "calls"),
        counted=True,
    ),
    "phone": Words(
        "{size} {material} phone",
        False,
        ("on a street", "on a balcony", "in a park"),
        ("in a kitchen", "in a hall", "in a bathroom"),
        ("rings", "buzzes"),
        materials=True,
        counted=True,
    ),
    "rain": Words(
        "{size} raindrops on a {material} roof",
        True,
        ("in a forest", "in a garden"),
        ("in a barn", "in a tunnel"),
        ("fall", "patter", "splatter"),
        materials=True,
        article=False,
    ),
    "siren": Words(
        "{size} siren",
        False,
        ("on a car", "on a street", "on a roof"),
        ("in a tunnel", "in a factory", "in a hall"),
        ("wails", "howls", "blares"),
    ),
    "train": Words(
        "{size} train",
        False,
        ("on a bridge", "in a field", "in a forest"),
        ("in a tunnel", "in a station", "in a hall"),
        ("chuffs", "puffs", "chugs"),
    ),
    "waves": Words(
        "{size} waves",
        True,
        ("on a beach", "by a lake", "by a cliff"),
        ("in a cave", "in a tunnel"),
        ("crash", "splash", "roll"),
        article=False,
    ),
    "wind": Words(
        "wind in {size} trees",
        False,
        ("on a hill", "by a lake", "by a road"),
        ("in a tunnel", "in a cave"),
        ("blows", "howls", "moans"),
        article=False,
    ),
}

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
