"""Captions for ESC-50 and ESC-10, which have class labels only.

Nothing is said that could be false: what is seen is true of the class (a rooster has a comb), the verb is the
class's own or a neutral one, and how it sounds (loud or quiet, steady or changing, once or repeated, slow or fast)
is measured on the clip itself. Words stand in esc_words.tsv, one category a line.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.corpus.measurements import event_peaks, loudness_change, loudness_curve
from stages.corpus.signals import Waveform, level
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_tsv

LOUD, QUIET = -16.0, -34.0  # dBFS of the loudest quarter second
CHANGE = 9.0  # dB from the first two fifths to the last two
FAST, SLOW = 3.5, 1.6  # events a second
MIN_WORDS, MAX_WORDS = 3, 7


@dataclass(frozen=True)
class Category:
    """Words of one ESC category; `seen` are pairs of noun phrase and whether it is plural."""

    event: bool
    seen: tuple[tuple[str, bool], ...]
    verb: str
    participle: str


@functools.cache
def categories() -> dict[str, Category]:
    """The 50 categories of ESC-50 by the names in its esc50.csv."""
    return {
        row["category"]: Category(
            row["event"] == "yes",
            tuple((phrase.rstrip("*"), phrase.endswith("*")) for phrase in row["seen"].split(";")),
            row["verb"],
            row["participle"],
        )
        for row in read_tsv(Path(__file__).with_name("esc_words.tsv"))
    }


def caption_of(category: str, wave: Waveform, rng: np.random.Generator) -> str:
    """Write a caption for a clip of one of `categories()`; its adverbs are measured on the clip, `wave` `[samples]`.

    For example "A dog with its mouth open can be heard barking repeatedly and loudly."
    """
    words = categories()[category]
    subject, plural = words.seen[int(rng.integers(len(words.seen)))]
    verbs = [
        words.verb if plural else third_person(words.verb),
        f"{'are' if plural else 'is'} heard {words.participle}",
        f"can be heard {words.participle}",
        f"{'keep' if plural else 'keeps'} {words.participle}",
    ]
    neutral = ["sound" if plural else "sounds", "are heard" if plural else "is heard", "can be heard"]
    manner = heard_adverbs(words.event, wave, rng)
    if "once" in manner:
        verbs.pop()
    chosen = [*(neutral if rng.random() < 0.5 else verbs), "can be heard"]
    spoken = [f"{verb} {manner}".replace(" ,", ",").strip() for verb in chosen]
    taken = set(subject.split())
    fitting = [
        text
        for text in spoken
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS and not taken & set(re.findall(r"\w+", text))
    ]
    assert fitting, f"no heard part fits {subject!r}: {spoken}"
    heard = fitting[int(rng.integers(max(1, len(fitting) - 1)))]
    return f"{subject[0].upper()}{subject[1:]} {heard}."


def heard_adverbs(event: bool, wave: Waveform, rng: np.random.Generator) -> str:
    """Measure how a clip sounds and say it in at most four words: "twice, softly", "loudly and steadily", ""."""
    curve = loudness_curve(wave)
    loudest = level(wave)
    said: list[str] = []
    if event:
        peaks = event_peaks(curve, rise=10.0)
        if len(peaks) <= 2:
            said.append("once" if len(peaks) == 1 else "twice")
        else:
            rate = (len(peaks) - 1) / ((peaks[-1] - peaks[0]) * 256 / SAMPLE_RATE)
            said.append("rapidly" if rate > FAST else "slowly" if rate < SLOW else "repeatedly")
    if loudest > LOUD or loudest < QUIET:
        options = ("loudly", "noisily", "strongly") if loudest > LOUD else ("softly", "quietly", "faintly")
        said.append(options[int(rng.integers(len(options)))])
    manner = (", " if said[:1] in (["once"], ["twice"]) else " and ").join(said)
    change = loudness_change(curve)
    if not event and abs(change) > CHANGE:
        manner += ", growing louder" if change > 0 else ", fading away"
    elif not event and float(np.ptp(curve)) < CHANGE:
        manner += " steadily" if not manner else " and steadily"
    return manner.strip()


def third_person(verb: str) -> str:
    """The form of a regular verb after "it": barks, sneezes, buzzes, cries."""
    if re.search(r"(s|x|z|ch|sh)$", verb):
        return verb + "es"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + "s"
