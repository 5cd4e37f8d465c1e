"""Parts of speech by word lists and neighbours: enough English grammar to tell what is seen from what is heard.

No statistical tagger: the lexicon knows the words of sounding scenes, endings and neighbours decide the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stages.language.lexicon import entries, function_class, phrases
from stages.language.text import WORD, lemma, plain

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
    """A word, or a phrase of the lexicon, and what it is.

    `classes` maps what it can be to the words that its definition entails; `kind` is what it was taken for.
    """

    text: str
    comma: bool  # punctuation stands before it
    classes: dict[str, str] = field(default_factory=dict)
    kind: str = ""

    @property
    def entails(self) -> str:
        """The words that the definition of this sense entails, "" if the lexicon says nothing."""
        return self.classes.get(self.kind, "")

    @property
    def plural(self) -> bool:
        """Whether a noun looks plural."""
        last = self.text.split(" ")[-1]
        return last in IRREGULAR_PLURALS or (last.endswith("s") and not last.endswith("ss"))


def tag(caption: str) -> list[Token]:
    """Split a caption into tokens and decide the kind of each.

    Kinds: those of lexicon.tsv (`seen_noun`, `sound`, `action`, `heard_adjective`, ...), those of function_words.tsv
    (`article`, `preposition`, ...), `adverb` and `particle`.
    """
    tokens = _tokens(caption)
    for index in range(len(tokens)):
        tokens[index].kind = _kind(tokens, index)
    return tokens


def _tokens(caption: str) -> list[Token]:
    pieces = re.findall(rf"{WORD.pattern}|[,.;:!?()\"]", plain(caption))
    tokens: list[Token] = []
    comma = False
    index = 0
    while index < len(pieces):
        if not WORD.fullmatch(pieces[index]):
            comma = True
            index += 1
            continue
        length = _phrase_length(pieces, index)
        text = " ".join(pieces[index : index + length]).removesuffix("'s")
        tokens.append(Token(text, comma and bool(tokens), entries(text)))
        comma = False
        index += length
    return tokens


def _phrase_length(pieces: list[str], index: int) -> int:
    """Count the words of the longest lexicon phrase that starts at `index`; 1 if none does."""
    for length in range(LONGEST_PHRASE, 1, -1):
        piece = pieces[index : index + length]
        if len(piece) < length or not all(WORD.fullmatch(word) for word in piece):
            continue
        phrase = " ".join(piece)
        singular = " ".join([*piece[:-1], lemma(piece[-1])])
        if phrase in phrases() or singular in phrases():
            return length
    return 1


def _kind(tokens: list[Token], index: int) -> str:
    token = tokens[index]
    before = _subject(tokens, index)
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    function = function_class(token.text)
    if function == "preposition" and token.text in PARTICLES and not _starts_noun_phrase(after):
        return "particle"
    if function == "determiner" and token.text in ("her", "his") and not _starts_noun_phrase(after):
        return "pronoun"
    is_noun = function == "auxiliary" and before is not None and before.kind in DETERMINERS  # "a can"
    if function and not is_noun:
        return function
    classes = set(token.classes)
    if not classes:
        return _unknown_kind(token, before, after)
    for kind in ("setting", "adverb"):
        if kind in classes and not (classes & ADJECTIVES and _is_noun_like(after)):
            return kind
    if classes & VERBS and classes & (NOUNS | ADJECTIVES):
        return _homograph_kind(token, before, after)
    if classes & ADJECTIVES and classes & NOUNS:
        wanted = ADJECTIVES if _is_noun_like(after) else NOUNS
        return _first(token, wanted)
    return _first(token, classes)


def _subject(tokens: list[Token], index: int) -> Token | None:
    """Return the token before; behind a noun with a preposition ("wind in the trees"), the noun that both belong to."""
    before = index - 1
    if before < 0:
        return None
    if tokens[before].kind not in NOUNS or tokens[index].comma:
        return tokens[before]
    start = before
    while start > 0 and tokens[start].kind in NOUNS | ADJECTIVES | DETERMINERS and not tokens[start].comma:
        start -= 1
    if tokens[start].kind == "preposition" and start > 0 and tokens[start - 1].kind in NOUNS:
        return tokens[start - 1]
    return tokens[before]


def _first(token: Token, kinds: set[str] | frozenset[str]) -> str:
    """Pick the first of the token's classes that is among `kinds`; adjectives of both worlds come before the others."""
    order = ["either_adjective", "either_noun", "seen_noun", "sound", "action", *sorted(token.classes)]
    return next(kind for kind in order if kind in token.classes and kind in kinds)


def _homograph_kind(token: Token, before: Token | None, after: Token | None) -> str:
    """Decide whether a word such as "drill", "whistles" or "open" is a verb, a noun or an adjective here."""
    classes = set(token.classes)
    verb = _first(token, VERBS)
    if not classes & {"seen_noun", "either_noun"} and not classes & ADJECTIVES:
        return verb  # Heard either way: "beat", "blast".
    if re.search("(?:ing|ed)$", token.text) and token.text not in ("building", "string"):
        return verb
    noun = _first(token, classes - VERBS)
    agrees = before is not None and token.plural != before.plural
    if classes & ADJECTIVES:
        if _is_noun_like(after) or (before is not None and before.kind in NOUNS and not agrees and not token.plural):
            return _first(token, ADJECTIVES)
        if not classes & NOUNS:
            return verb if before is not None and before.kind in NOUNS else noun
        noun = _first(token, classes & NOUNS)
    if before is None or (before.comma and before.kind == "conjunction"):
        return noun
    if before.kind == "pronoun" or before.text == "to":
        return verb
    if before.kind in NOUNS:
        if _is_verb_like(after):
            return noun
        return verb if agrees and (before.plural or after is None or not _is_bare_noun(after)) else noun
    if before.kind in ("particle", "adverb") and token.plural:
        return verb if not _is_verb_like(after) else noun
    if before.kind == "conjunction" and token.plural and _starts_noun_phrase(after):
        return verb
    return noun


def _unknown_kind(token: Token, before: Token | None, after: Token | None) -> str:
    """Guess the kind of a word that no list knows from its ending and its neighbours."""
    text = token.text
    if text.isdigit():
        return "determiner"
    if text.endswith("ly") and len(text) > 4:
        return "adverb"
    in_noun_phrase = before is not None and before.kind in DETERMINERS | ADJECTIVES | {"preposition"}
    if text.endswith("ing") and len(text) > 5:
        return "action"
    if text.endswith("ed") and len(text) > 4:
        return "seen_adjective" if in_noun_phrase and _is_noun_like(after) else "action"
    if re.search("(?:ous|ful|ive|ical|less|ish|y)$", text) and _is_noun_like(after):
        return "either_adjective"
    if before is not None and before.kind == "pronoun":
        return "action"
    if before is not None and before.kind in NOUNS and token.plural != before.plural and not _is_verb_like(after):
        return "action"
    if before is not None and before.text == "to":
        return "action"
    return "seen_noun"


def _is_noun_like(token: Token | None) -> bool:
    """Whether a following word may be the noun that an adjective waits for."""
    if token is None or token.comma or function_class(token.text):
        return False
    return not token.classes or bool(set(token.classes) & (NOUNS | ADJECTIVES | VERBS))


def _is_bare_noun(token: Token) -> bool:
    return not token.comma and set(token.classes) <= NOUNS | ADJECTIVES and bool(token.classes)


def _is_verb_like(token: Token | None) -> bool:
    if token is None or token.comma:
        return False
    if function_class(token.text) == "auxiliary":
        return True
    return bool(set(token.classes) & VERBS) and not set(token.classes) & {"seen_noun"}


def _starts_noun_phrase(token: Token | None) -> bool:
    if token is None or token.comma:
        return False
    function = function_class(token.text)
    if function:
        return function in DETERMINERS
    kinds = set(token.classes)
    return not token.text.endswith("ly") and (not kinds or bool(kinds & (NOUNS | ADJECTIVES | {"setting"})))
