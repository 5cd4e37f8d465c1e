"""Swear words and slurs, for quality control that is asked to keep them out (`quality.profanity: reject`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from stages.language.text import lemma, words

# Beside these words the harmless sense is meant.
HARMLESS_BESIDE = {"cock": {"crow", "hen", "rooster"}, "pussy": {"cat"}, "ass": {"bray", "donkey"}}


@cache
def _profane_words() -> frozenset[str]:
    return frozenset((Path(__file__).parent / "profanity.wordlist").read_text(encoding="utf-8").split())


def is_profane(text: str) -> bool:
    """Whether a text holds a swear word or slur in any inflection; "a cock crows" does not."""
    found = words(text)
    pieces = [piece for word in found for piece in (word, *word.split("-"))]
    bad = {name for piece in pieces for name in (piece, lemma(piece)) if name in _profane_words()}
    beside = {lemma(word) for word in found}
    return any(not HARMLESS_BESIDE.get(name, set()) & beside for name in bad)
