"""The word lists of the rule-based decomposer: which words name something seen, which something heard.

`lexicon.tsv` gives each word its classes and, where its dictionary definition says so, what it *entails*: a bark
is short and sharp. `function_words.tsv` lists the
closed classes of English, `foreign.wordlist` function words of other languages, which give away a caption whose other
words look English, `uncounted.wordlist` things that take no article.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from simplemma import lemmatize

from stages.formats.files import read_tsv

HERE = Path(__file__).parent
# What may stand in the place of an inflection's ending.
ENDINGS = {"ies": ["y"], "es": ["", "e"], "s": [""], "ing": ["", "e"], "ied": ["y"], "ed": ["", "e"]}


@cache
def _lexicon() -> dict[str, dict[str, str]]:
    """Map each word to its classes and each class to what it entails ("" where nothing)."""
    lexicon: dict[str, dict[str, str]] = {}
    for word, row in _words("lexicon.tsv"):
        lexicon.setdefault(word, {})[row["class"]] = row["entails"]
    return lexicon


@cache
def _function_words() -> dict[str, str]:
    """Map each function word to its class."""
    return {word: row["class"] for word, row in _words("function_words.tsv")}


def _words(name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each word of a table's column `words`, with its row."""
    for row in read_tsv(HERE / name):
        for word in row["words"].split():
            yield word.replace("_", " "), row


@cache
def bases(word: str) -> frozenset[str]:
    """A describing word and what may be the adjective under it: "softly" -> "soft", "gently" -> "gentle"."""
    stem = word.removesuffix("ly")
    return frozenset({word} if stem == word else {word, stem, f"{stem}le", f"{stem[:-1]}y"})


@cache
def rivals(word: str) -> frozenset[str]:
    """A describing word and those that repeat or contradict it, as loud and quiet do.

    Each line of `dimensions.wordlist` holds what lies on one dimension.
    """
    lines = (line.split() for line in (HERE / "dimensions.wordlist").read_text(encoding="utf-8").splitlines())
    return bases(word).union(*(line for line in lines if bases(word) & set(line)))


@cache
def word_list(name: str) -> frozenset[str]:
    """The words of a file of this folder."""
    return frozenset((HERE / name).read_text(encoding="utf-8").split())


@cache
def phrases() -> frozenset[str]:
    """Return every entry of more than one word."""
    return frozenset(word for word in (*_lexicon(), *_function_words()) if " " in word)


def function_class(word: str) -> str | None:
    """Return the closed class of a lower-case word (`article`, `preposition`, ...), None for a word with content.

    Numbers and quantities are of a closed class as well: "two dogs" and "barking in two tones" share no content.
    """
    return _function_words().get(word)


def is_entry(word: str) -> bool:
    """Whether the lexicon lists a word in this very form."""
    return word in _lexicon()


@cache
def entries(word: str) -> dict[str, str]:
    """Return the classes of a lower-case word or phrase in any inflection, with what each entails; {} if unknown."""
    for form in _forms(word):
        if form in _lexicon():
            return _lexicon()[form]
    return {}


def _forms(word: str) -> list[str]:
    """List the forms under which an inflected word may stand in the lexicon, likeliest first."""
    *head, last = word.split(" ")
    bases = [last, str(lemmatize(last, lang="en")).lower()]
    for ending, replacements in ENDINGS.items():
        stem = last.removesuffix(ending)
        if stem != last and len(stem) > 1:
            bases += [stem + replacement for replacement in replacements]
            if len(stem) > 2 and stem[-1] == stem[-2]:
                bases.append(stem[:-1])
    return [" ".join([*head, base]) for base in bases]
