"""Parts of speech by word lists and neighbours: enough English grammar to tell what is seen from what is heard.

No statistical tagger: the lexicon knows the words of sounding scenes, endings and neighbours decide the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from stages.language.lexicon import entries, function_class, is_entry, phrases
from stages.language.text import WORD, content_lemmas, lemma, plain, words

ADJECTIVES = frozenset({"seen_adjective", "heard_adjective", "either_adjective"})
NOUNS = frozenset({"seen_noun", "heard_noun", "either_noun"})
VERBS = frozenset({"sound", "action"})
DETERMINERS = frozenset({"article", "determiner"})
LONGEST_PHRASE = 4
IRREGULAR_PLURALS = frozenset(
    {"people", "men", "women", "children", "mice", "geese", "sheep", "feet", "teeth", "cattle"}
)
# Prepositions that may also stand alone behind a verb: "passes by", "flies off".
PARTICLES = frozenset(
    {"up", "down", "off", "out", "away", "by", "over", "past", "around", "along", "through", "on", "in"}
)


@dataclass
class Token:
    """A word, or a phrase of the lexicon: what it is and, once `sides` has seen it, where it goes.

    `classes` maps what it can be to the words that its definition entails; `kind` is what it was taken for. `phrase`
    counts the noun phrases and clauses, so that words of different phrases are told apart; `leads` marks the
    preposition of a place that may open a part ("in a cave").
    """

    text: str
    comma: bool  # punctuation stands before it
    classes: dict[str, str]
    kind: str = ""
    side: str | None = None  # seen | heard | None
    position: int = 0
    phrase: int = 0
    leads: bool = False

    @property
    def entails(self) -> str:
        """The words that the definition of this sense entails, "" if the lexicon says nothing."""
        return self.classes.get(self.kind, "")

    @property
    def plural(self) -> bool:
        """Whether a noun looks plural."""
        last = self.text.split(" ")[-1]
        return last in IRREGULAR_PLURALS or (last.endswith("s") and not last.endswith("ss"))

    @cached_property
    def lemmas(self) -> set[str]:
        """Its lemmas that are no stop words."""
        return content_lemmas(self.text)

    @cached_property
    def length(self) -> int:
        """How many words it is."""
        return len(words(self.text))

    @property
    def content(self) -> bool:
        """Whether the word says something by itself."""
        return self.kind in NOUNS | VERBS | ADJECTIVES | {"adverb"}


NOTHING = Token("", True, {})  # what stands before the first and behind the last


def tag(caption: str) -> list[Token]:
    """Split a caption into tokens and decide the kind of each.

    Kinds: those of lexicon.tsv (`seen_noun`, `sound`, `action`, `heard_adjective`, ...), those of function_words.tsv
    (`article`, `preposition`, ...), `adverb` and `particle`.
    """
    tokens = _tokens(caption)
    for index, token in enumerate(tokens):
        token.kind = _kind(tokens, index)
    return tokens


def _tokens(caption: str) -> list[Token]:
    pieces = re.findall(rf"{WORD.pattern}|[,.;:!?()\"]", plain(caption))
    tokens: list[Token] = []
    index = 0
    while index < len(pieces):
        length = _phrase_length(pieces, index)
        if WORD.fullmatch(pieces[index]):
            text = " ".join(pieces[index : index + length]).removesuffix("'s")
            comma = bool(tokens) and not WORD.fullmatch(pieces[index - 1])
            tokens.append(Token(text, comma, entries(text)))
        index += length
    return tokens


def _phrase_length(pieces: list[str], index: int) -> int:
    """Count the words of the longest lexicon phrase that starts at `index`; 1 if none does."""
    for length in range(min(LONGEST_PHRASE, len(pieces) - index), 1, -1):
        *head, last = pieces[index : index + length]
        if any(" ".join([*head, form]) in phrases() for form in (last, lemma(last))):
            return length
    return 1


def neighbours(tokens: list[Token], index: int) -> tuple[Token, Token]:
    """The tokens before and behind one, `NOTHING` where there is none."""
    return tokens[index - 1] if index else NOTHING, tokens[index + 1] if index + 1 < len(tokens) else NOTHING


def opening(tokens: list[Token], index: int) -> Token:
    """The token before a noun's phrase, `NOTHING` where a comma or nothing is there."""
    while index and tokens[index - 1].kind in NOUNS | ADJECTIVES | DETERMINERS and not tokens[index].comma:
        index -= 1
    return NOTHING if tokens[index].comma else neighbours(tokens, index)[0]


def _kind(tokens: list[Token], index: int) -> str:
    token = tokens[index]
    before, after = _subject(tokens, index), neighbours(tokens, index)[1]
    function = function_class(token.text)
    if function == "preposition" and token.text in PARTICLES and not _starts_noun_phrase(after):
        return "particle"
    if function == "preposition" and "adverb" in token.classes and not _starts_noun_phrase(after):
        return "adverb"
    if token.text == "another" and after.plural and set(after.classes) <= VERBS:
        return "seen_noun"  # "a child yells and another yells"
    is_noun = function == "auxiliary" and before.kind in DETERMINERS  # "a can"
    if function and not is_noun:
        return function
    classes = set(token.classes)
    if (classes & VERBS or (not classes and token.plural)) and _continues(tokens, index):
        return _first(token, VERBS) if classes else "action"
    if not classes or (classes <= NOUNS and token.text.endswith(("ed", "ing")) and not is_entry(token.text)):
        return _unknown_kind(token, before, after)  # "switched" is no switch
    for kind in ("setting", "adverb"):
        if kind in classes and not (classes & ADJECTIVES and _is_noun_like(after)):
            return kind
    opens = opening(tokens, index)
    if token.lemmas <= {"sound"} and (opens.text in ("with", "of", "over") or opens.kind in VERBS):
        return "heard_noun"  # "with crowd sounds", "make sounds"
    if classes & VERBS and classes & (NOUNS | ADJECTIVES):
        return _homograph_kind(token, before, after)
    if classes & VERBS == {"action"} and _is_compound(token, neighbours(tokens, index)[0], after):
        return "seen_noun"
    if classes & ADJECTIVES and classes & NOUNS:
        wanted = ADJECTIVES if _is_noun_like(after) else NOUNS
        return _first(token, wanted)
    return _first(token, classes)


def _subject(tokens: list[Token], index: int) -> Token:
    """Return the token before; behind a noun with a preposition ("wind in the trees"), the noun that both belong to."""
    before = neighbours(tokens, index)[0]
    if before.kind not in NOUNS or tokens[index].comma:
        return before
    start = index - 1
    while start > 0 and tokens[start].kind in NOUNS | ADJECTIVES | DETERMINERS and not tokens[start].comma:
        start -= 1
    joined = tokens[start].kind == "preposition" and start > 0 and tokens[start - 1].kind in NOUNS
    return tokens[start - 1] if joined else before


def _first(token: Token, kinds: set[str] | frozenset[str]) -> str:
    """Pick the first of the token's classes that is among `kinds`; adjectives of both worlds come before the others."""
    order = ["either_adjective", "either_noun", "seen_noun", "sound", "action", *sorted(token.classes)]
    return next(kind for kind in order if kind in token.classes and kind in kinds)


def _homograph_kind(token: Token, before: Token, after: Token) -> str:
    """Decide whether a word such as "drill", "whistles" or "open" is a verb, a noun or an adjective here."""
    classes = set(token.classes)
    verb = _first(token, VERBS)
    if not classes & {"seen_noun", "either_noun"} and not classes & ADJECTIVES:
        return verb  # Heard either way: "beat", "blast".
    if token.text.endswith(("ing", "ed")):
        return verb
    noun = _first(token, classes - VERBS)
    agrees = token.plural != before.plural
    if classes & ADJECTIVES:
        if _is_noun_like(after) or (before.kind in NOUNS and not agrees and not token.plural):
            return _first(token, ADJECTIVES)
        if not classes & NOUNS:
            return verb if before.kind in NOUNS else noun
        noun = _first(token, classes & NOUNS)
    if before.kind == "pronoun" or before.text == "to":
        return verb
    if before.kind in NOUNS:
        return verb if agrees and not _is_verb_like(after) else noun
    return noun


def _continues(tokens: list[Token], index: int) -> bool:
    """Whether a verb goes on from another: "speaks, then whistles", "insects buzz and fly"."""
    if index < 2 or tokens[index - 1].text not in ("then", "and") or _is_verb_like(neighbours(tokens, index)[1]):
        return False
    verb = index - 2
    while verb > 0 and tokens[verb].kind in ("adverb", "conjunction", "particle"):
        verb -= 1
    return tokens[verb].kind in VERBS and tokens[verb].plural == tokens[index].plural


def _is_compound(token: Token, before: Token, after: Token) -> bool:
    """Whether the base form of a verb stands for a noun before another: "a red race car"."""
    described = before.kind in DETERMINERS | ADJECTIVES and not token.comma
    return described and lemma(token.text) == token.text and not after.comma and set(after.classes) == {"seen_noun"}


def _unknown_kind(token: Token, before: Token, after: Token) -> str:
    """Guess the kind of a word that no list knows from its ending and its neighbours."""
    text = token.text
    describes = before.kind in DETERMINERS | ADJECTIVES and not after.comma and set(after.classes) & NOUNS
    if text.endswith("ly") and len(text) > 4:
        return "either_adjective" if describes and not after.text.endswith(("ing", "ed")) else "adverb"
    if text.endswith("ing") and len(text) > 5:
        return "action"
    if text.endswith("ed") and len(text) > 4:
        in_noun_phrase = before.kind in DETERMINERS | ADJECTIVES | {"preposition"}
        return "seen_adjective" if in_noun_phrase and _is_noun_like(after) else "action"
    if text.endswith(("ous", "ful", "ive", "ical", "less", "ish", "y")) and _is_noun_like(after):
        return "either_adjective"
    if before.kind == "pronoun" or before.text == "to":
        return "action"
    if before.kind in NOUNS and token.plural != before.plural and not _is_verb_like(after):
        return "action"
    return "seen_noun"


def _is_noun_like(token: Token) -> bool:
    """Whether a following word may be the noun that an adjective waits for."""
    if token.comma or function_class(token.text):
        return False
    return not token.classes or bool(set(token.classes) & (NOUNS | ADJECTIVES | VERBS))


def _is_verb_like(token: Token) -> bool:
    if token.comma or function_class(token.text) == "auxiliary":
        return not token.comma
    return bool(set(token.classes) & VERBS) and "seen_noun" not in token.classes


def _starts_noun_phrase(token: Token) -> bool:
    function = function_class(token.text)
    if token.comma or function:
        return not token.comma and function in DETERMINERS
    kinds = set(token.classes)
    return not token.text.endswith("ly") and (not kinds or bool(kinds & (NOUNS | ADJECTIVES | {"setting"})))
