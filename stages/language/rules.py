"""The rule-based decomposer: any English caption -> what is seen, what is heard.

Every word of the caption goes to one side or to none: things, people, animals, places, materials and sizes to the
visual part; sounds, manner, loudness, pace, order and duration to the text part. Where a part has too few words,
grammar gives joining words and forms ("there is a dog", "is barking loudly"); only then words are added to a sound that
the lexicon's definitions entail ("barks" -> "short sharp barks"). No object is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

from stages.language.clauses import as_said_alone
from stages.language.lexicon import bases, function_class, rivals, word_list
from stages.language.sides import JOINING, Side, assign_sides, word_count
from stages.language.tagging import ADJECTIVES, DETERMINERS, NOTHING, NOUNS, VERBS, Token, neighbours
from stages.language.text import content_lemmas, is_english, text_problems, words

# What is left out first where a part is too long: the lower, the less an image or a sound would lose without it.
VISUAL_RANKS = {"article": 0, "determiner": 2, "either_adjective": 3, "preposition": 6, "conjunction": 6}
# A word that joins two sounds stays longest: where it has to go, so does the sound that it joins.
TEXT_RANKS = {"article": 0, "auxiliary": 0, "stop": 0, "setting": 1, "particle": 2, "determiner": 2, "action": 5}
TEXT_RANKS |= dict.fromkeys(("adverb", "heard_adjective", "either_adjective"), 3) | dict.fromkeys(JOINING, 7)
SHORTER = dict.fromkeys(("followed by", "followed shortly by", "followed quickly by"), "then")
SHORTER |= dict.fromkeys(("accompanied by", "along with", "together with", "mixed with"), "with")
SHORTER |= {"as well as": "and", "preceded by": "after", "proceeded by": "then"}
# They say of a sound no more than that it is there.
OCCURRING = frozenset({"occur", "play", "ensue", "take", "place", "exist", "sound"})

MOST_WORDS = 100  # of a caption; the time to shorten it grows with the cube of their number


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
        Parts for which `text_problems` finds nothing, or none and a reason: `caption_empty`, `caption_too_long`,
        `not_english`, `nothing_seen`, `nothing_heard`, or the first code of `text_problems`.
    """
    if not (spoken := words(caption)):
        return failed("caption_empty")
    if len(spoken) > MOST_WORDS:
        return failed("caption_too_long")
    if not is_english(caption):
        return failed("not_english")
    tokens = assign_sides(caption)
    seen, heard = _without_shared(tokens, min_words)
    if not any(token.content for token in seen):
        return failed("nothing_seen")
    if not any(token.content for token in heard):
        return failed("nothing_heard")
    taken = content_lemmas(caption)
    said = _said(tokens)
    heard = as_said_alone(heard, tokens, min_words)
    if word_count([token for token in heard if _text_rank(heard, heard.index(token))]) > max_words:
        heard = [replace(token, text=SHORTER.get(token.text, token.text)) for token in heard]
    seen, heard = _shortened(seen, max_words, _visual_rank), _shortened(heard, max_words, _text_rank)
    seen = _listed(seen, min_words)
    added: list[str] = []
    if add_words:
        heard, added = _filled(heard, min_words, max_words, taken, said)
    if word_count(seen) < min_words:
        seen = _there_is(seen)
    visual_part, text_part = _joined(seen, ","), _joined(heard, "")
    problems = text_problems(visual_part, text_part, min_words, max_words)
    if problems:
        return failed(problems[0])
    return Decomposition(visual_part, text_part, tuple(added), None)


def failed(reason: str) -> Decomposition:
    """No parts, and why."""
    return Decomposition(None, None, (), reason)


def _without_shared(tokens: Side, min_words: int) -> tuple[Side, Side]:
    """Split by side; a lemma that stands on both sides stays where it is needed more."""
    seen = [token for token in tokens if token.side == "seen"]
    heard = [token for token in tokens if token.side == "heard"]
    for name in sorted(_lemmas(seen) & _lemmas(heard)):
        seen_without, heard_without = ([token for token in side if name not in token.lemmas] for side in (seen, heard))
        if word_count(_tidy(heard_without)) >= min_words or not any(token.content for token in seen_without):
            heard = heard_without
        else:
            seen = seen_without
    return _tidy(_named_once(seen, min_words)), _tidy(heard)


def _named_once(seen: Side, min_words: int) -> Side:
    """Leave out a thing that was named before: the second of "a boat motor, water, the boat motor"."""
    for phrase in sorted({token.phrase for token in seen}):
        again = [token for token in seen if token.phrase == phrase and token.kind not in JOINING]
        named = _lemmas([token for token in seen if token.phrase < phrase])
        new = any(token.kind in DETERMINERS and token.text != "the" for token in again) or not _lemmas(again) <= named
        rest = _tidy([token for token in seen if token not in again])
        if not new and _lemmas(again) and word_count(rest) >= min_words:
            seen = rest
    return seen


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
        if token.kind == "preposition" and after.phrase > token.phrase + 1:
            return True  # its own noun is gone
        return (before is NOTHING and not token.leads) or after is NOTHING or after.kind in JOINING
    if token.kind == "auxiliary" and before.kind in ADJECTIVES:
        return True  # "a loud engine is running"
    if token.kind in DETERMINERS | {"auxiliary", "stop"}:
        joins = after.kind in JOINING and after.text != "of"  # "a couple of"
        return after is NOTHING or joins or (token.kind == "article" and after.kind == "article")
    return False


def _shortened(side: Side, max_words: int, rank: Callable[[Side, int], int]) -> Side:
    """Leave out the word of the lowest rank, the last first, until at most `max_words` are left."""
    while word_count(side) > max_words:
        worst = min(range(len(side)), key=lambda index: (rank(side, index), -index))
        side = _tidy([token for token in side if token is not side[worst]])
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
    before, after = neighbours(side, index)
    given = token.kind == "conjunction" and token.position == after.position
    if given or (token.kind in VERBS and token.lemmas <= OCCURRING and before.kind in ("heard_noun", "sound")):
        return 1
    if token.kind == "determiner" and after.text in ("time", "times"):
        return 6
    if token.kind in ADJECTIVES and after.kind not in ADJECTIVES | NOUNS | VERBS:
        return 6  # "getting louder"
    return 4 if _repeats(side, index) else TEXT_RANKS.get(token.kind, 6)


def _repeats(side: Side, index: int) -> bool:
    own = side[index].lemmas
    return bool(own) and own <= _lemmas(side[:index])


def _listed(seen: Side, min_words: int) -> Side:
    """Join two things by "and" instead of a comma where a word is lacking: "wind and men"."""
    gaps = [index for index in range(1, len(seen)) if _parted(seen[index - 1], seen[index])]
    if not gaps or word_count(seen) != min_words - 1:
        return seen
    joining = replace(seen[gaps[-1] - 1], text="and", kind="conjunction", classes={})
    return [*seen[: gaps[-1]], joining, *seen[gaps[-1] :]]


def _said(tokens: Side) -> dict[int, set[str]]:
    """What is said of each word that entails others, by position: all up to a word of order."""
    clauses = list(accumulate(token.kind == "order" for token in tokens))
    return {
        token.position: {
            base
            for other, clause in zip(tokens, clauses, strict=True)
            if clause == clauses[token.position]
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
        need = min_words - word_count(filled)
        options = [word for word in token.entails.split() if not content_lemmas(word) & taken]
        options = [word for word in options if word not in added and not rivals(word) & said[token.position]]
        if need <= 0 or not options:
            continue
        chosen = options[:need]
        index = filled.index(token)
        if index and filled[index - 1].kind == "auxiliary":  # "Is sharp barking".
            index -= 1
            del filled[index]
            chosen = options[: need + 1]
        filled[index:index] = [replace(token, text=word, kind="added") for word in chosen]
        added += chosen
    return (filled, added) if min_words <= word_count(filled) <= max_words else (side, [])


def _there_is(seen: Side) -> Side:
    """Say of a thing in one word or two that it is there: "there is a man"."""
    named = [token for token in seen if token.text != "the"]
    nouns = [token for token in named if token.kind == "seen_noun" and token.phrase == seen[-1].phrase]
    first = named[0] if named else NOTHING
    if not nouns or first.kind not in NOUNS | ADJECTIVES | DETERMINERS:
        return seen
    plural = nouns[-1].plural and first.kind != "article"
    be = replace(first, text="are" if plural else "is", kind="auxiliary")
    there = [replace(first, text="there", kind="pronoun"), be]
    if first.kind in DETERMINERS or plural or nouns[-1].text in word_list("uncounted.wordlist"):
        return [*there, *named]
    return [*there, replace(first, text="a", kind="article"), *named] if nouns[-1].classes else seen


def _joined(side: Side, mark: str) -> str:
    """Join words; `mark` stands between phrases that do not belong together."""
    text = ""
    for number, (before, token) in enumerate(zip([None, *side], side, strict=False)):
        if before is not None:
            text += f"{mark} " if _parted(before, token) else " "
        article = token.text in ("a", "an") and number + 1 < len(side)
        # Of "a loud engine" the picture keeps "an engine".
        text += ("an" if side[number + 1].text[0] in "aeiou" else "a") if article else token.text
    return text


def _parted(before: Token, token: Token) -> bool:
    """Whether two neighbours of a part belong to phrases that nothing joins."""
    joins = {token.kind, before.kind} & JOINING or token.kind in ("action", "particle", "adverb")
    return not joins and before.kind != "article" and token.phrase != before.phrase


def _lemmas(side: Side) -> set[str]:
    return {name for token in side for name in token.lemmas if not function_class(name)}
