"""Which side each word of a tagged caption belongs to: seen, heard, or neither."""

from __future__ import annotations

from stages.language.tagging import ADJECTIVES, DETERMINERS, NOTHING, NOUNS, VERBS, Token, neighbours, tag

JOINING = frozenset({"preposition", "conjunction", "order"})
HEARD_KINDS = frozenset({"heard_noun", "heard_adjective", "sound", "action", "adverb", "particle", "setting"})
PLACE = frozenset({"in", "on", "at", "by", "near", "under", "inside", "outside", "beside", "behind", "along"})
PATH = frozenset({"into", "onto", "against", "across", "over", "under", "through", "down", "up", "from"})
# Whoever knocks on a door is not on it, nor at a child who shouts at it.
TOUCHING = frozenset({"knock", "tap", "type", "bang", "pound", "chop", "scrape", "scratch", "rub", "press"})
CALLING = frozenset({"bark", "growl", "hiss", "honk", "shout", "yell", "scream", "meow", "caw", "snarl", "squawk"})
ACTED_UPON = {"on": TOUCHING, "at": TOUCHING | CALLING, "against": TOUCHING}
# Where something is can be heard, but drawn as well; so can that there is one of it.
WHEREABOUTS = frozenset({"outside", "inside", "indoors", "outdoors", "overhead", "nearby", "far away", "underwater"})
VISIBLE = frozenset({"distant", "far-off", "far-away", "nearby", "close", "lone", "single", "isolated"})
SUBJECTS = frozenset({"it", "he", "she", "they"})

Side = list[Token]


def word_count(side: Side) -> int:
    """How many words a side has; a phrase of the lexicon has several."""
    return sum(token.length for token in side)


def assign_sides(caption: str) -> list[Token]:
    """Tag a caption and give every word its side, in the caption's order."""
    tokens = tag(caption)
    for index, token in enumerate(tokens):
        token.position = token.group = index
        token.phrase = tokens[index - 1].phrase + _begins_phrase(tokens, index) if index else 0
        token.leads = index == 0 and token.text in PLACE
        token.side = _own_side(tokens, index)
    for index, token in enumerate(tokens):
        if token.kind in DETERMINERS:
            token.side = _determiner_side(tokens, index)
        elif token.kind == "auxiliary":
            token.side = _auxiliary_side(tokens, index)
    for index, token in enumerate(tokens):
        if token.kind == "preposition":
            token.side, token.spare = _preposition_side(tokens, index)
        elif token.kind == "setting":
            _join_to_setting(tokens, index)
        elif token.kind == "either_noun":
            _join_phrase(tokens, index)
        elif token.kind == "particle" and tokens[index - 1].kind == "action":
            token.group = index - 1
    for index, token in enumerate(tokens):
        if token.kind == "conjunction":
            token.side = _conjunction_side(tokens, index)
        elif token.kind == "order":
            token.side = "heard"
        token.flexible = token.side == "heard" and _flexible(tokens, index)
    return tokens


def _join_phrase(tokens: list[Token], index: int) -> None:
    """Group "a strong" with the "wind" that follows."""
    before = index - 1
    while before >= 0 and tokens[before].phrase == tokens[index].phrase and not tokens[before + 1].comma:
        if tokens[before].kind not in ADJECTIVES | {"article"} and not _modifies(tokens, before):
            break
        tokens[before].group = index
        before -= 1


def _join_to_setting(tokens: list[Token], index: int) -> None:
    """Group "in the distant" with the "background" that follows."""
    for earlier in reversed(tokens[max(index - 3, 0) : index]):
        if earlier.kind not in DETERMINERS | ADJECTIVES | {"preposition"}:
            break
        earlier.group = index
        if earlier.kind == "preposition":
            earlier.leads = True
            break


def _own_side(tokens: list[Token], index: int) -> str | None:
    token, (before, after) = tokens[index], neighbours(tokens, index)
    if token.kind == "seen_noun" or (token.kind == "action" and _describes(tokens, index)):
        return "seen"
    if token.kind in HEARD_KINDS:
        return "heard"
    if token.kind == "either_noun":
        # "Wind in the trees" is a scene; "wind blows" is a sound.
        if after.kind == "seen_noun" and not after.comma:
            return "seen"
        kinds = [other.kind for other in tokens[index + 1 : index + 5]]
        if kinds[:1] == ["preposition"]:
            head = next((kind for kind in kinds[1:] if kind in NOUNS | VERBS | {"setting"}), "")
            return "seen" if head == "seen_noun" else "heard"
        return "heard"
    if token.kind == "seen_adjective" and before.kind == "seen_noun" and not token.comma:
        return "seen"  # "With its mouth open."
    if token.kind in ADJECTIVES:
        return "seen" if _head(tokens, index) == "seen_noun" else "heard"
    return None


def _head(tokens: list[Token], index: int) -> str:
    """The kind of the first word behind one that is no adjective."""
    return next((token.kind for token in tokens[index + 1 :] if token.kind not in ADJECTIVES), "")


def _describes(tokens: list[Token], index: int) -> bool:
    """Whether a movement only describes a thing that sounds otherwise: "burning wood crackles", "folded wings"."""
    if not _modifies(tokens, index):
        return False
    sounds = any(token.kind in ("sound", "heard_noun") for token in tokens)
    return sounds and _head(tokens, index) == "seen_noun"


def _begins_phrase(tokens: list[Token], index: int) -> bool:
    """Whether a noun phrase begins: behind a comma, a verb or a joining word, at an article."""
    before, token = tokens[index - 1], tokens[index]
    if _breaks(tokens, index):
        return True
    if token.kind in DETERMINERS and before.kind not in DETERMINERS:
        return True
    if before.kind in VERBS:
        return not _modifies(tokens, index - 1)
    return before.kind in JOINING | {"adverb", "particle", "auxiliary"}


def _breaks(tokens: list[Token], index: int) -> bool:
    """Whether a comma parts what stands before it from what follows; between adjectives it does not."""
    return tokens[index].comma and not {tokens[index - 1].kind, tokens[index].kind} <= ADJECTIVES


def _modifies(tokens: list[Token], index: int) -> bool:
    """Whether a verb form stands before its noun: "a barking dog"."""
    if not tokens[index].text.endswith(("ing", "ed", "en")) or index + 1 == len(tokens):
        return False
    if tokens[index + 1].comma or tokens[index + 1].kind not in NOUNS | ADJECTIVES:
        return False
    return index == 0 or tokens[index - 1].kind in DETERMINERS | ADJECTIVES | JOINING or tokens[index].comma


def _noun_phrase(tokens: list[Token], start: int) -> range:
    """Return the positions of the noun phrase that begins at `start`."""
    end = start
    while end < len(tokens) and not (end > start and tokens[end].comma):
        kind = tokens[end].kind
        if kind not in DETERMINERS | ADJECTIVES | NOUNS | {"setting", "adverb"} and not (
            kind in VERBS and (_modifies(tokens, end) or end == start or tokens[end - 1].kind not in NOUNS)
        ):
            break
        if end > start and kind in DETERMINERS and tokens[end - 1].kind not in DETERMINERS:
            break
        end += 1
        if kind == "adverb" and tokens[end - 1].text.endswith("ly") and end - start > 1:
            break
    return range(start, end)


def _determiner_side(tokens: list[Token], index: int) -> str | None:
    phrase = _noun_phrase(tokens, index)
    sides = {tokens[position].side for position in phrase}
    if sides <= {None} and phrase.stop < len(tokens) and tokens[phrase.stop].text == "of":
        return _determiner_side(tokens, phrase.stop + 1)  # "a couple of babies"
    return "seen" if "seen" in sides else "heard" if "heard" in sides else None


def _flexible(tokens: list[Token], index: int) -> bool:
    """Whether a heard word can be seen as well: a thing's movement, weather, a thing in the distance."""
    kind, after = tokens[index].kind, neighbours(tokens, index)[1]
    before = index - 1
    if kind == "either_noun":
        while before >= 0 and tokens[before].group == index:
            before -= 1
        return before < 0 or tokens[before].kind in JOINING
    if kind == "heard_adjective":
        return tokens[index].text in VISIBLE and _head(tokens, index) == "seen_noun"
    if kind == "setting" or tokens[index].text in WHEREABOUTS:
        while before > 0 and tokens[before].group == index:
            before -= 1
        if tokens[before + 1].text == "into":
            return False  # "fades into the distance"
        while before > 0 and tokens[before].kind in VERBS | {"adverb", "auxiliary", "conjunction", "order"}:
            before -= 1
        return tokens[before].kind == "seen_noun"
    if kind == "action":
        if after.kind == "adverb" or (tokens[index].text.endswith("ed") and after.kind == "conjunction"):
            return False  # "is running loudly", "is opened and closed"
        if before > 0 and tokens[before].text in ("while", "as", "and") and tokens[index].text.endswith("ing"):
            return True
        while before > 0 and tokens[before].kind == "auxiliary":
            before -= 1
        follows = before >= 0 and (tokens[before].kind == "seen_noun" or tokens[before].text in SUBJECTS)
        return follows or (after.kind == "seen_noun" and not after.comma)
    return False


def _auxiliary_side(tokens: list[Token], index: int) -> str | None:
    kinds = (token.kind for token in tokens[index + 1 :])
    head = next((kind for kind in kinds if kind not in ("auxiliary", "adverb")), "")
    return "heard" if head in VERBS | {"heard_adjective"} else None


def _preposition_side(tokens: list[Token], index: int) -> tuple[str | None, str | None]:
    """Return the side of a preposition, and the side that it may still serve where it is left out."""
    text = tokens[index].text
    phrase = [tokens[position] for position in _noun_phrase(tokens, index + 1)]
    named = [token.side for token in phrase if token.kind in NOUNS]
    own = {token.side for token in phrase} if named[-1:] != ["heard"] else {"heard"}  # "with bird sounds"
    side = "seen" if "seen" in own else "heard" if "heard" in own else None
    before = index - 1
    if side is None or (before < 0 and text in PLACE):
        return side, None
    if text == "of" or (text == "from" and tokens[before].kind not in VERBS | {"adverb", "particle"}):
        return (side, None) if before >= 0 and tokens[before].side == side else (None, None)
    if text == "over" and before >= 0 and tokens[before].kind == "sound" and side == "seen":
        return None, None if "heard" in own else side  # "Speaks over engines running": two sounds at once.
    owner = next((token for token in reversed(tokens[: before + 1]) if token.kind in NOUNS), NOTHING)
    if owner.side == "heard" and (text in PATH or (text == "on" and owner.kind == "either_noun")):
        return None, None if text == "from" else side  # "A dog barks as wind blows into a microphone".
    verb = before
    while verb > 0 and tokens[verb].kind in ("adverb", "particle"):
        verb -= 1
    if verb >= 0 and tokens[verb].kind in VERBS and tokens[verb].lemmas & ACTED_UPON.get(text, frozenset()):
        return None, side
    while before >= 0 and tokens[before].kind != "order" and (before + 1 == index or not _breaks(tokens, before + 1)):
        if tokens[before].side == side and tokens[before].kind not in DETERMINERS:
            return side, None
        before -= 1
    return None, side if text in (PLACE | PATH) - {"from"} else None


def _conjunction_side(tokens: list[Token], index: int) -> str | None:
    before = [token.side for token in tokens[:index] if token.side]
    after = [token.side for token in tokens[index + 1 :] if token.side]
    if before[-1:] == after[:1] == ["seen"]:
        return "seen"
    return "heard" if "heard" in before and "heard" in after else None
