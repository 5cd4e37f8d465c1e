"""Text checks: what a word is, when two words are the same word, and what is wrong with a pair of parts.

The original description asks for a visual part and a text part of 3-7 words each with zero overlap. Overlap is counted
on lemmas (simplemma, whose English dictionary ships in its package) after the stop words are taken out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from simplemma import is_known, lemmatize

from stages.formats.files import printable
from stages.language.lexicon import entries, function_class, word_list

WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
POSSESSIVE = re.compile(r"(?:'s)+$")
SPELLING = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc\u00b4`", "'") | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
ENGLISH_SHARE = 0.6
EXAMPLES = 3  # captions named for a reason
OWN_PARTS = "bring your own visual_part and text_part in the corpus's metadata, or try decompose.backend: openai"
# What a user can do about a caption without parts, or with such parts of its own.
REMEDIES = {
    "caption_empty": "write a caption",
    "caption_too_long": "tell what sounds in a sentence or two, 100 words at most",
    "not_english": "translate it: rules, checks and towers read English",
    "nothing_seen": f'name what sounds and could be drawn ("A big dog barks loudly"); or {OWN_PARTS}',
    "nothing_heard": f'say how it sounds ("A small frog croaks loudly and slowly"); or {OWN_PARTS}',
    "visual_part_too_short": f'say more of what is seen ("a small frog by a pond"); or {OWN_PARTS}',
    "visual_part_too_long": "shorten its visual_part, or raise quality.max_words",
    "text_part_too_long": "shorten its text_part, or raise quality.max_words",
    "shared_words": "say each thing in one part alone",
    "text_part_too_short": f'say more of how it sounds ("croaks loudly and slowly"); or {OWN_PARTS}',
}
# Beside these words the harmless sense of a swear word is meant.
HARMLESS_BESIDE = {"cock": {"crow", "hen", "rooster"}, "pussy": {"cat"}, "ass": {"bray", "donkey"}}


def plain(text: str) -> str:
    """Bring a text into one spelling: NFKC, lower case, straight quotes, plain hyphens, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().translate(SPELLING).split())


def words(text: str) -> list[str]:
    """List the words of a text in lower case; hyphenated words are one, a possessive 's is left off."""
    return [POSSESSIVE.sub("", word) for word in WORD.findall(plain(text))]


def process_text(text: str) -> str:
    """Text processing of the text part: lower case, no punctuation, single spaces.

    Idempotent. The language is checked by `is_english`, which `text_problems` calls.
    """
    return " ".join(words(text))


@cache
def lemma(word: str) -> str:
    """Return the dictionary form of one lower-case English word ("rings", "ringing" -> "ring")."""
    found = str(lemmatize(word, lang="en")).lower()
    if found != word or not word.endswith("ing"):
        return found
    # Coined sound words ("ticktocking") are in no dictionary.
    return word[:-3] if len(word) > 5 and not is_known(word, lang="en") else word


def content_lemmas(text: str) -> set[str]:
    """Return the lemmas of a text's words that are no stop words; of hyphenated words also the pieces."""
    return {name for word in words(text) for name in _word_lemmas(word)}


@cache
def _word_lemmas(word: str) -> frozenset[str]:
    pieces = {word, *re.split("[-']", word)}
    return frozenset(lemma(piece) for piece in pieces if piece and not function_class(piece))


def is_english(text: str) -> bool:
    """Tell whether most words of a text are English; a text without words is not."""
    found = words(text)
    known = sum(_is_english_word(word) for word in found)
    return bool(found) and known >= ENGLISH_SHARE * len(found)


@cache
def _is_english_word(word: str) -> bool:
    if word in word_list("foreign.wordlist"):
        return False
    if function_class(word) or entries(word):
        return True
    return all(piece and (piece.isdigit() or is_known(piece, lang="en")) for piece in re.split("[-']", word))


def text_problems(visual_part: str, text_part: str, min_words: int, max_words: int) -> list[str]:
    """List what is wrong with a pair of parts as reason codes, in a fixed order; an empty list means it passes.

    Codes: `visual_part_empty`, `visual_part_too_short`, `visual_part_too_long`, the same three for `text_part`,
    `shared_words` (a lemma stands in both parts) and `not_english`.
    """
    problems = []
    for name, part in (("visual_part", visual_part), ("text_part", text_part)):
        count = len(words(part))
        if not count:
            problems.append(f"{name}_empty")
        elif count < min_words:
            problems.append(f"{name}_too_short")
        elif count > max_words:
            problems.append(f"{name}_too_long")
    if content_lemmas(visual_part) & content_lemmas(text_part):
        problems.append("shared_words")
    if not is_english(f"{visual_part} {text_part}"):
        problems.append("not_english")
    return problems


def is_profane(text: str) -> bool:
    """Whether a text holds a swear word or slur in any inflection; "a cock crows" does not."""
    found = words(text)
    pieces = {piece for word in found for piece in (word, *word.split("-"))}
    bad = (pieces | {lemma(piece) for piece in pieces}) & word_list("profanity.wordlist")
    beside = {lemma(word) for word in found}
    return any(not HARMLESS_BESIDE.get(name, set()) & beside for name in bad)


def outcomes(captions_reasons: Iterable[tuple[str, str | None]]) -> list[str]:
    """Count captions by the reason why they have no parts (None: they have), the commonest first, a line each.

    Each line gives three examples and what a user can do.
    """
    captions: dict[str | None, list[str]] = defaultdict(list)
    for caption, reason in captions_reasons:
        captions[reason].append(caption)
    lines = [f"{len(captions.pop(None, []))} captions have both parts"]
    for reason, found in sorted(captions.items(), key=lambda item: (-len(item[1]), item[0])):
        examples = ", ".join(f'"{printable(caption[:200])}"' for caption in list(dict.fromkeys(found))[:EXAMPLES])
        lines.append(f"{len(found)} {reason}, such as {examples}: {REMEDIES.get(reason or '', OWN_PARTS)}")
    return lines
