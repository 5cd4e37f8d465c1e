"""The rule-based decomposer: any English caption -> what is seen, what is heard.

Every word of the caption goes to one side or to none: things, people, animals, places, materials and sizes to the
visual part; sounds, manner, loudness, pace, order and duration to the text part. Where a part has too few words,
words of the caption that can be both seen and heard change sides, then words are added that the lexicon's definitions
entail ("a dog" -> "a furry dog", "barks" -> "short sharp barks"). No object is added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stages.language.lexicon import function_class
from stages.language.sides import Placed, place
from stages.language.text import content_lemmas, is_english, text_problems, words

Side = list[Placed]


@dataclass(frozen=True)
class Decomposition:
    """The two parts of a caption, or why there are none.

    `added` lists the words that are not the caption's; `reason` is None where both parts are there.
    """

    visual_part: str | None
    text_part: str | None
    added: tuple[str, ...]
    reason: str | None


def decompose(caption: str, min_words: int, max_words: int, may_add: bool = True) -> Decomposition:
    """Split a caption into a visual part and a text part of `min_words` to `max_words` words each.

    Args:
        caption: one English caption.
        min_words: fewest words of a part.
        max_words: most words of a part; words are left out by how little they say until it is met.
        may_add: whether entailed words may be added where the caption has too few of its own.

    Returns:
        Parts for which `text_problems` finds nothing, or none and a reason: `caption_empty`, `not_english`,
        `nothing_seen`, `nothing_heard`, or the first code of `text_problems`.
    """
    if not words(caption):
        return _failed("caption_empty")
    if not is_english(caption):
        return _failed("not_english")
    placed = place(caption)
    seen, heard = _without_shared(placed, min_words)
    if not any(item.content for item in seen):
        return _failed("nothing_seen")
    if not any(item.content for item in heard):
        return _failed("nothing_heard")
    seen, heard = _shift(placed, seen, heard, min_words)
    seen = _tidy(_shortened(seen, max_words, _visual_rank))
    heard = _tidy(_shortened(heard, max_words, _text_rank))
    added: list[str] = []
    if may_add:
        taken = content_lemmas(caption)
        seen = _filled(seen, min_words, max_words, taken, added)
        heard = _filled(heard, min_words, max_words, taken, added)
    visual_part, text_part = _joined(seen, ","), _joined(heard, "")
    problems = text_problems(visual_part, text_part, min_words, max_words)
    if problems:
        return _failed(problems[0])
    return Decomposition(visual_part, text_part, tuple(added), None)


def _failed(reason: str) -> Decomposition:
    return Decomposition(None, None, (), reason)


def _without_shared(placed: Side, min_words: int) -> tuple[Side, Side]:
    """Split by side; a lemma that stands on both sides stays where it is needed more."""
    seen = [item for item in placed if item.side == "seen"]
    heard = [item for item in placed if item.side == "heard"]
    for name in sorted(_lemmas(seen) & _lemmas(heard)):
        without = [item for item in heard if name not in content_lemmas(item.text)]
        if _count(_tidy(without)) >= min_words or not any(
            item.content and name not in content_lemmas(item.text) for item in seen
        ):
            heard = without
        else:
            seen = [item for item in seen if name not in content_lemmas(item.text)]
    return _tidy(seen), _tidy(heard)


def _shift(placed: Side, seen: Side, heard: Side, min_words: int) -> tuple[Side, Side]:
    """Give a short side words of the caption: of the other's surplus, or the preposition that it began with."""
    for group in sorted({item.group for item in placed if item.flexible}):
        if _count(seen) >= min_words:
            break
        moved = [item for item in heard if item.group == group]
        rest = _tidy([item for item in heard if item.group != group])
        if moved and _count(rest) >= min_words and any(item.content for item in rest):
            candidate = sorted([*seen, *moved], key=lambda item: item.position)
            if not _lemmas(candidate) & _lemmas(rest):
                seen, heard = _tidy(candidate), rest
    for side, name in ((seen, "seen"), (heard, "heard")):
        spare = [item for item in placed if item.spare == name]
        for item in spare:
            if _count(side) >= min_words:
                break
            candidate = sorted([*side, item], key=lambda other: other.position)
            if len(_tidy(candidate, keep_spare=True)) == len(candidate):
                side[:] = candidate
    return seen, heard


def _tidy(side: Side, keep_spare: bool = True) -> Side:
    """Take off words that only join where there is nothing left to join."""
    kept = list(side)
    while True:
        for index, item in enumerate(kept):
            before = kept[index - 1] if index else None
            after = kept[index + 1] if index + 1 < len(kept) else None
            if item.dangles(before, after) and not (keep_spare and item.spare and after is not None):
                del kept[index]
                break
        else:
            return kept


def _shortened(side: Side, max_words: int, rank: Callable[[Side, int], int]) -> Side:
    """Leave out the word of the lowest rank, the last first, until at most `max_words` are left."""
    side = list(side)
    while _count(side) > max_words:
        worst = min(range(len(side)), key=lambda index: (rank(side, index), -index))
        group = side[worst].group if side[worst].kind == "setting" else None
        del side[worst]
        if group is not None:
            side = [item for item in side if item.group != group]
        side = _tidy(side)
    return side


def _visual_rank(side: Side, index: int) -> int:
    """Rank a word of the visual part by how much an image of the scene would lose without it."""
    item = side[index]
    if item.kind == "article":
        return 0
    if _repeats(side, index):
        return 1
    if item.kind == "determiner":
        return 2
    if item.kind == "either_adjective":
        return 3
    after = side[index + 1] if index + 1 < len(side) else None
    if item.kind == "seen_adjective" or (after is not None and after.kind == "seen_noun" == item.kind):
        return 4 if after is not None and after.phrase == item.phrase else 5
    if item.kind in ("preposition", "conjunction"):
        return 6
    return 5


def _text_rank(side: Side, index: int) -> int:
    """Rank a word of the text part by how much the sound would lose without it."""
    item = side[index]
    if item.kind in ("article", "auxiliary", "stop"):
        return 0
    if item.kind == "setting":
        return 1
    if item.kind == "conjunction" or item.text in ("as", "while", "with", "during", "along with", "together with"):
        return 2
    if item.kind == "particle":
        return 3
    if _repeats(side, index):
        return 4
    if item.kind == "action":
        return 5
    return 6


def _repeats(side: Side, index: int) -> bool:
    earlier = _lemmas(side[:index])
    own = content_lemmas(side[index].text)
    return bool(own) and own <= earlier


def _filled(side: Side, min_words: int, max_words: int, taken: set[str], added: list[str]) -> Side:
    """Add entailed words, the most telling first, until there are `min_words`; nothing if they do not suffice."""
    filled = list(side)
    new: list[str] = []
    for item in side:
        need = min_words - _count(filled)
        if need <= 0:
            break
        pattern = item.entails.split()
        if not pattern:
            continue
        suffix = pattern[0] == "~"
        options = [word for word in pattern if word != "~" and not content_lemmas(word) & taken]
        options = [word for word in options if word not in new]
        chosen = options[-need:] if suffix else options[:need]
        index = filled.index(item)
        if chosen and not suffix and index and _clashes(filled[index - 1], chosen[0]):
            del filled[index - 1]
            index -= 1
            chosen = options[: need + 1]
        extra = [item.beside(word) for word in chosen]
        at = index + 1 if suffix else index
        filled[at:at] = extra
        new += chosen
    if min_words <= _count(filled) <= max_words:
        added += new
        return filled
    return side


def _clashes(before: Placed, word: str) -> bool:
    """Whether an added word cannot stand behind the caption's: "an furry ...", "is sharp barking"."""
    if before.text in ("a", "an"):
        return (before.text == "an") != (word[0] in "aeiou")
    return before.kind == "auxiliary"


def _joined(side: Side, mark: str) -> str:
    """Join words; `mark` stands between phrases that do not belong together."""
    parts: list[str] = []
    for index, item in enumerate(side):
        if mark and index and item.breaks_from(side[index - 1]):
            parts[-1] += mark
        parts.append(item.text)
    return " ".join(parts)


def _count(side: Side) -> int:
    return sum(len(words(item.text)) for item in side)


def _lemmas(side: Side) -> set[str]:
    return {name for item in side for name in content_lemmas(item.text) if not function_class(name)}
