"""Which side each word of a tagged caption belongs to: seen, heard, or neither."""

from __future__ import annotations

from stages.language.tagging import ADJECTIVES, DETERMINERS, NOTHING, NOUNS, VERBS, Token, neighbours, opening, tag

JOINING = frozenset({"preposition", "conjunction", "order"})
HEARD_KINDS = frozenset({"heard_noun", "heard_adjective", "sound", "action", "adverb", "particle", "setting"})
PLACE = frozenset({"in", "on", "at", "by", "near", "under", "inside", "outside", "beside", "behind", "along"})
# Whoever knocks on a door is not on it, nor at a child who shouts at it.
TOUCHING = frozenset({"knock", "tap", "type", "bang", "pound", "chop", "scrape", "scratch", "rub", "press"})
CALLING = frozenset({"bark", "growl", "hiss", "honk", "shout", "yell", "scream", "meow", "caw", "snarl", "squawk"})
ACTED_UPON = {"on": TOUCHING, "at": TOUCHING | CALLING, "against": TOUCHING}
VISIBLE = frozenset({"distant", "far-off", "far-away", "nearby", "close", "lone", "single", "isolated"})
# Nobody looks at what the wind blows into; a horn without a verb is its sound.
MICROPHONES = frozenset({"microphone", "mic", "mike"})
SIGNALS = frozenset({"siren", "alarm", "horn", "whistle", "buzzer", "gong"})

Side = list[Token]


def word_count(side: Side) -> int:
    """How many words a side has; a phrase of the lexicon has several."""
    return sum(token.length for token in side)


def assign_sides(caption: str) -> list[Token]:
    """Tag a caption and give every word its side, in the caption's order."""
    tokens = tag(caption)
    for index, token in enumerate(tokens):
        token.position = index
        token.leads = index == 0 and token.text in PLACE
        token.phrase = tokens[index - 1].phrase + _begins_phrase(tokens, index) if index else 0
        token.side = _own_side(tokens, index)
    for index, token in enumerate(tokens):
        if token.kind == "seen_noun" and _blown_into(tokens, index):
            token.side = None
        elif token.kind == "seen_noun" and _is_signal(tokens, index):
            token.kind, token.side = "heard_noun", "heard"
    for kinds, side_of in (
        (DETERMINERS, _determiner_side),
        ({"auxiliary"}, _auxiliary_side),
        ({"preposition"}, _preposition_side),
        ({"conjunction", "order"}, _joining_side),
    ):
        for index, token in enumerate(tokens):
            if token.kind in kinds:
                token.side = side_of(tokens, index)
    heard = [token for token in tokens if token.side == "heard"]
    for before, token, after in zip([NOTHING, *heard], heard, [*heard[1:], NOTHING], strict=False):
        alone = (after is NOTHING or after.kind in JOINING) and before.kind not in JOINING
        if alone and token.kind in ADJECTIVES and _head(tokens, token.position) == "seen_noun":
            token.side = "seen" if token.text in VISIBLE else None
    return tokens


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


def _is_signal(tokens: list[Token], index: int) -> bool:
    """Whether a thing is there for its sound alone: "followed by a horn", "with sirens"."""
    if not tokens[index].lemmas <= SIGNALS or not any(
        other.kind == "seen_noun" and other is not tokens[index] for other in tokens
    ):
        return False
    after, opens = neighbours(tokens, index)[1], opening(tokens, index)
    ends = after.comma or after.kind in ("conjunction", "order") or after.text == "in"
    return ends and (opens.text in ("and", "with", "then") or opens.text.endswith(" by"))


def _blown_into(tokens: list[Token], index: int) -> bool:
    """Whether the wind blows into a microphone, which nobody looks at."""
    opens = opening(tokens, index)
    if not tokens[index].lemmas <= MICROPHONES or opens.kind != "preposition":
        return False
    owner = next((token for token in reversed(tokens[: opens.position]) if token.kind in NOUNS), NOTHING)
    return owner.kind == "either_noun"


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
    return range(start, end)


def _determiner_side(tokens: list[Token], index: int) -> str | None:
    phrase = _noun_phrase(tokens, index)
    sides = {tokens[position].side for position in phrase}
    if any(tokens[position].text == "series of" for position in phrase):
        return "heard"
    if sides <= {None} and phrase.stop < len(tokens) and tokens[phrase.stop].text == "of":
        return _determiner_side(tokens, phrase.stop + 1)  # "a couple of babies"
    return "seen" if "seen" in sides else "heard" if "heard" in sides else None


def _auxiliary_side(tokens: list[Token], index: int) -> str | None:
    kinds = (token.kind for token in tokens[index + 1 :])
    head = next((kind for kind in kinds if kind not in ("auxiliary", "adverb")), "")
    return "heard" if head in VERBS | {"heard_adjective"} else None


def _preposition_side(tokens: list[Token], index: int) -> str | None:
    text = tokens[index].text
    phrase = [tokens[position] for position in _noun_phrase(tokens, index + 1)]
    named = [token.side for token in phrase if token.kind in NOUNS]
    own = {token.side for token in phrase} if named[-1:] != ["heard"] else {"heard"}  # "with bird sounds"
    side = "seen" if "seen" in own else "heard" if "heard" in own else None
    before = index - 1
    if side is None or before < 0:
        return side
    if text == "of" or (text == "from" and tokens[before].kind not in VERBS | {"adverb", "particle"}):
        return side if tokens[before].side == side else None
    if text == "over" and tokens[before].kind == "sound" and side == "seen":
        return None  # "Speaks over engines running": two sounds at once.
    verb = before
    while verb > 0 and tokens[verb].kind in ("adverb", "particle"):
        verb -= 1
    if tokens[verb].kind in VERBS and tokens[verb].lemmas & ACTED_UPON.get(text, frozenset()):
        return None
    while before >= 0 and tokens[before].kind != "order" and (before + 1 == index or not _breaks(tokens, before + 1)):
        if tokens[before].side == side and tokens[before].kind not in DETERMINERS:
            return side
        before -= 1
    return None


def _joining_side(tokens: list[Token], index: int) -> str | None:
    if tokens[index].kind == "order":
        return "heard"
    before = [token.side for token in tokens[:index] if token.side]
    after = [token.side for token in tokens[index + 1 :] if token.side]
    if before[-1:] == after[:1] == ["seen"]:
        return "seen"
    return "heard" if "heard" in before and "heard" in after else None
