"""The rule-based decomposer: any English caption -> what is seen, what is heard.

Every word of the caption goes to one side or to none: things, people, animals, places, materials and sizes to the
visual part; sounds, manner, loudness, pace, order and duration to the text part. Where a part has too few words,
words of the caption that can be both seen and heard change sides, then words are added that the lexicon's definitions
entail ("a dog" -> "a furry dog", "barks" -> "short sharp barks"). No object is added.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

from stages.language.lexicon import bases, function_class, rivals
from stages.language.sides import JOINING, assign_sides
from stages.language.tagging import DETERMINERS, NOTHING, NOUNS, VERBS, Token, neighbours
from stages.language.text import content_lemmas, is_english, lemma, text_problems, words

Side = list[Token]
# One short syllable (chug, hum, clip-clop), or a last one that is stressed.
DOUBLING = re.compile(r"(?:\w+-)?[^aeiou]*(?:qu)?[aeiou][^aeiouwxy]|begin|occur|emit|propel|unwrap|unzip")

# What is left out first where a part is too long: the lower, the less an image or a sound would lose without it.
VISUAL_RANKS = {"article": 0, "determiner": 2, "either_adjective": 3, "preposition": 6, "conjunction": 6}
TEXT_RANKS = {"article": 0, "auxiliary": 0, "stop": 0, "setting": 1, "conjunction": 2, "particle": 3}
JOINS_SOUNDS = frozenset({"as", "while", "with", "during", "along with", "together with"})


@dataclass(frozen=True)
class Decomposition:
    """The two parts of a caption, or why there are none.

    `added` lists the words that are not the caption's; `reason` is None where both parts are there.
    """

    visual_part: str | None
    text_part: str | None
    added: tuple[str, ...]
    reason: str | None


def decompose(caption: str, min_words: int, max_words: int, add_words: bool = True) -> Decomposition:
    """Split a caption into a visual part and a text part of `min_words` to `max_words` words each.

    Args:
        caption: one English caption.
        min_words: fewest words of a part; entailed words are added where the caption has too few of its own.
        max_words: most words of a part; words are left out by how little they say until it is met.
        add_words: whether entailed words are added at all.

    Returns:
        Parts for which `text_problems` finds nothing, or none and a reason: `caption_empty`, `not_english`,
        `nothing_seen`, `nothing_heard`, or the first code of `text_problems`.
    """
    if not words(caption):
        return _failed("caption_empty")
    if not is_english(caption):
        return _failed("not_english")
    tokens = assign_sides(caption)
    seen, heard = _without_shared(tokens, min_words)
    if not any(token.content for token in seen):
        return _failed("nothing_seen")
    if not any(token.content for token in heard):
        return _failed("nothing_heard")
    seen, heard = _shift(tokens, seen, heard, min_words)
    taken = content_lemmas(caption)
    said = _said(tokens)
    seen, heard = _shortened(seen, max_words, _visual_rank), _shortened(heard, max_words, _text_rank)
    heard = _as_said_alone(heard, tokens, min_words)
    added: list[str] = []
    if add_words:
        seen, added = _filled(seen, min_words, max_words, taken, said)
        heard, more = _filled(heard, min_words, max_words, taken, said)
        added += more
    visual_part, text_part = _joined(seen, ","), _joined(heard, "")
    problems = text_problems(visual_part, text_part, min_words, max_words)
    if problems:
        return _failed(problems[0])
    return Decomposition(visual_part, text_part, tuple(added), None)


def _failed(reason: str) -> Decomposition:
    return Decomposition(None, None, (), reason)


def _without_shared(tokens: Side, min_words: int) -> tuple[Side, Side]:
    """Split by side; a lemma that stands on both sides stays where it is needed more."""
    seen = [token for token in tokens if token.side == "seen"]
    heard = [token for token in tokens if token.side == "heard"]
    for name in sorted(_lemmas(seen) & _lemmas(heard)):
        seen_without, heard_without = ([token for token in side if name not in token.lemmas] for side in (seen, heard))
        if _count(_tidy(heard_without)) >= min_words or not any(token.content for token in seen_without):
            heard = heard_without
        else:
            seen = seen_without
    return _tidy(seen), _tidy(heard)


def _shift(tokens: Side, seen: Side, heard: Side, min_words: int) -> tuple[Side, Side]:
    """Give a short side words of the caption: of the other's surplus, or the preposition that it began with."""
    for group in sorted({token.group for token in tokens if token.flexible}):
        if _count(seen) >= min_words:
            break
        moved = [token for token in heard if token.group == group]
        rest = _tidy([token for token in heard if token.group != group])
        candidate = sorted([*seen, *moved], key=lambda token: token.position)
        enough = _count(rest) >= min_words and any(token.content for token in rest)
        if moved and enough and not _lemmas(candidate) & _lemmas(rest):
            seen, heard = _tidy(candidate), rest
    for side, name in ((seen, "seen"), (heard, "heard")):
        for spare in (token for token in tokens if token.spare == name):
            candidate = sorted([*side, spare], key=lambda token: token.position)
            if _count(side) < min_words and len(_tidy(candidate)) == len(candidate):
                side[:] = candidate
    return seen, heard


def _tidy(side: Side) -> Side:
    """Take off words that only join where there is nothing left to join."""
    kept = list(side)
    index = 0
    while index < len(kept):
        if _dangles(kept[index], *neighbours(kept, index)):
            del kept[index]
            index = max(0, index - 1)
        else:
            index += 1
    return kept


def _dangles(token: Token, before: Token, after: Token) -> bool:
    """Whether a word joins or points to something that is not there."""
    if token.kind in JOINING:
        alone = before is NOTHING and not token.leads
        return after is NOTHING or (not token.spare and (alone or after.kind in JOINING))
    if token.kind in DETERMINERS | {"auxiliary", "stop"}:
        return after is NOTHING or after.kind in JOINING or (token.kind == "article" and after.kind == "article")
    return False


def _shortened(side: Side, max_words: int, rank: Callable[[Side, int], int]) -> Side:
    """Leave out the word of the lowest rank, the last first, until at most `max_words` are left."""
    while _count(side) > max_words:
        worst = min(range(len(side)), key=lambda index: (rank(side, index), -index))
        group = side[worst].group if side[worst].kind == "setting" else None
        side = _tidy([token for token in side if token is not side[worst] and token.group != group])
    return _tidy(side)


def _visual_rank(side: Side, index: int) -> int:
    token, after = side[index], neighbours(side, index)[1]
    if token.kind != "article" and _repeats(side, index):
        return 1
    if after is not NOTHING and (token.kind == "seen_adjective" or after.kind == "seen_noun" == token.kind):
        return 4 if after.phrase == token.phrase else 5
    return VISUAL_RANKS.get(token.kind, 5)


def _text_rank(side: Side, index: int) -> int:
    token = side[index]
    rank = 2 if token.text in JOINS_SOUNDS else TEXT_RANKS.get(token.kind)
    if rank is None:
        rank = 4 if _repeats(side, index) else 5 if token.kind == "action" else 6
    return rank


def _repeats(side: Side, index: int) -> bool:
    own = side[index].lemmas
    return bool(own) and own <= _lemmas(side[:index])


def _as_said_alone(heard: Side, tokens: Side, min_words: int) -> Side:
    """Give a heard part what grammar gives a clause without its subject; it says no more than the caption.

    Behind "while" a verb takes its participle ("talking while clattering"). Where a word is lacking, two sounds of
    different clauses are joined ("whispers and giggles"), and one takes its progressive form ("is barking loudly").
    """
    heard = list(heard)
    during = False
    for index, token in enumerate(heard[1:], start=1):
        before = heard[index - 1]
        if token.kind in VERBS and before.text in ("while", "as") and token.position > before.position + 1:
            during, heard[index - 1] = True, replace(before, text="while")
        during = during and token.kind != "order"
        if during and token.kind in VERBS and (token.text == lemma(token.text) or token.text.endswith("s")):
            heard[index] = _in_ing(token)
    if _count(heard) != min_words - 1 or not heard:
        return heard
    verbs = [token for token in heard if token.kind in VERBS]
    if heard == verbs and len(verbs) == 2 and verbs[1].phrase != verbs[0].phrase:
        return [verbs[0], replace(verbs[0], text="and", kind="conjunction"), verbs[1]]
    verb = heard[0]
    subject = neighbours(tokens, verb.position)[0] if verb.position else NOTHING
    if verb.kind not in VERBS or subject.side != "seen" or subject.kind not in NOUNS | {"action"} or len(verbs) > 1:
        return heard
    several = subject.plural or any(token.text == "and" for token in tokens[: verb.position])
    if verb.text != lemma(verb.text) and not verb.text.endswith("ing"):
        if not verb.text.endswith("s"):
            return heard  # past tense
        several = False
    auxiliary = replace(verb, text="are" if several else "is", kind="auxiliary")
    return [auxiliary, _in_ing(verb), *heard[1:]]


def _in_ing(verb: Token) -> Token:
    """A phrase's first word is its verb: "carries on"."""
    first, *more = verb.text.split(" ")
    return replace(verb, text=" ".join([participle(first), *more]))


def participle(verb: str) -> str:
    """The form in -ing of a verb in its base form, third person or that form: barks, whistle, die, chugs."""
    if verb.endswith("ing") and len(verb) > 5:
        return verb
    base = lemma(verb) if verb.endswith("s") else verb
    if base.endswith("c"):
        return base + "king"
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1] + "ing"
    return base + (base[-1] if DOUBLING.fullmatch(base) else "") + "ing"


def _said(tokens: Side) -> dict[int, set[str]]:
    """What is said of each word, by position: of a seen one in its noun phrase, of others up to a word of order."""
    clauses = list(accumulate(token.kind == "order" for token in tokens))
    return {
        token.position: {
            base
            for other, clause in zip(tokens, clauses, strict=True)
            if (other.phrase == token.phrase if token.side == "seen" else clause == clauses[token.position])
            for base in bases(other.text)
        }
        for token in tokens
        if token.entails
    }


def _filled(
    side: Side, min_words: int, max_words: int, taken: set[str], said: dict[int, set[str]]
) -> tuple[Side, list[str]]:
    """Add entailed words, the most telling first, until there are `min_words`; nothing if they do not suffice.

    None of them repeats or contradicts what the caption says itself, as "loud crows loudly" would.
    """
    filled = list(side)
    added: list[str] = []
    for token in side:
        need = min_words - _count(filled)
        suffix = token.entails.startswith("~")
        options = [word for word in token.entails.replace("~", "").split() if not content_lemmas(word) & taken]
        options = [word for word in options if word not in added and not rivals(word) & said[token.position]]
        if need <= 0 or not options:
            continue
        chosen = options[-need:] if suffix else options[:need]
        index = filled.index(token)
        if not suffix and index and filled[index - 1].kind == "auxiliary":  # "Is sharp barking".
            index -= 1
            del filled[index]
            chosen = options[: need + 1]
        at = index + suffix
        filled[at:at] = [replace(token, text=word, kind="added", flexible=False) for word in chosen]
        added += chosen
    return (filled, added) if min_words <= _count(filled) <= max_words else (side, [])


def _joined(side: Side, mark: str) -> str:
    """Join words; `mark` stands between phrases that do not belong together."""
    text = ""
    for number, (before, token) in enumerate(zip([None, *side], side, strict=False)):
        if before is not None:
            joins = (
                {token.kind, before.kind} & JOINING or token.kind in ("action", "particle") or before.kind == "article"
            )
            text += " " if joins or token.phrase == before.phrase else f"{mark} "
        article = token.text in ("a", "an") and number + 1 < len(side)
        # Of "a loud engine" the picture keeps "an engine".
        text += ("an" if side[number + 1].text[0] in "aeiou" else "a") if article else token.text
    return text


def _count(side: Side) -> int:
    return sum(token.length for token in side)


def _lemmas(side: Side) -> set[str]:
    return {name for token in side for name in token.lemmas if not function_class(name)}
