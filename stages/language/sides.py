"""Which side each word of a tagged caption belongs to: seen, heard, or neither."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stages.language.tagging import ADJECTIVES, DETERMINERS, NOUNS, VERBS, Token, tag

JOINING = frozenset({"preposition", "conjunction", "order"})
HEARD_KINDS = frozenset({"heard_noun", "heard_adjective", "sound", "action", "adverb", "particle", "setting"})
PLACE = frozenset({"in", "on", "at", "by", "near", "under", "inside", "outside", "beside", "behind", "along"})
PATH = frozenset({"into", "onto", "against", "across", "over", "under", "through", "down", "up", "from"})
SUBJECTS = frozenset({"it", "he", "she", "they"})
VOWELS = "aeiou"


@dataclass(frozen=True)
class Placed:
    """A token with its side.

    `phrase` counts the noun phrases and clauses, so that words of different phrases are told apart; `group` joins
    what moves or goes together; `flexible` words can be seen as well as heard; `spare` names the side that a word
    left out may still serve; `leads` marks the preposition of a place that may open a part ("in a cave").
    """

    text: str
    kind: str
    side: str | None
    position: int
    phrase: int
    group: int
    flexible: bool = False
    spare: str | None = None
    leads: bool = False
    entails: str = ""

    @property
    def content(self) -> bool:
        """Whether the word says something by itself."""
        return self.kind in NOUNS | VERBS | ADJECTIVES | {"adverb"}

    def dangles(self, before: Placed | None, after: Placed | None) -> bool:
        """Whether the word joins or points to something that is not there."""
        if self.kind in JOINING:
            if after is None or after.kind in JOINING:
                return True
            return before is None and not self.leads
        if self.kind in DETERMINERS | {"auxiliary", "stop"}:
            return after is None or after.kind in JOINING or (self.kind == "article" and after.kind == "article")
        return False

    def breaks_from(self, before: Placed) -> bool:
        """Whether a comma belongs between the word before and this one."""
        if self.kind in JOINING or before.kind in JOINING or self.kind in ("action", "particle"):
            return False
        return self.phrase != before.phrase

    def beside(self, text: str) -> Placed:
        """Return a word that goes with this one."""
        return replace(self, text=text, kind="added", entails="", flexible=False)


def place(caption: str) -> list[Placed]:
    """Tag a caption and give every word its side, in the caption's order."""
    tokens = tag(caption)
    sides: list[str | None] = [_own_side(tokens, index) for index in range(len(tokens))]
    spare: list[str | None] = [None] * len(tokens)
    phrases = _phrases(tokens)
    groups = list(range(len(tokens)))
    leads = {0} if tokens and tokens[0].text in PLACE else set()
    for index, token in enumerate(tokens):
        if token.kind in DETERMINERS:
            sides[index] = _determiner_side(tokens, sides, index)
        elif token.kind == "auxiliary":
            sides[index] = _auxiliary_side(tokens, index)
    for index, token in enumerate(tokens):
        if token.kind == "preposition":
            sides[index], spare[index] = _preposition_side(tokens, sides, index)
        elif token.kind == "setting":
            for earlier in range(index - 1, max(index - 4, -1), -1):
                if tokens[earlier].kind in DETERMINERS | ADJECTIVES | {"preposition"}:
                    groups[earlier] = index
                    if tokens[earlier].kind == "preposition":
                        leads.add(earlier)
                        break
                else:
                    break
        elif token.kind == "either_noun" and index and tokens[index - 1].kind == "article":
            groups[index - 1] = index
        elif token.kind == "particle" and tokens[index - 1].kind == "action":
            groups[index] = index - 1
    for index, token in enumerate(tokens):
        if token.kind == "conjunction":
            sides[index] = _conjunction_side(tokens, sides, index)
        elif token.kind == "order":
            sides[index] = "heard"
    return [
        Placed(
            text=token.text,
            kind=token.kind,
            side=sides[index],
            position=index,
            phrase=phrases[index],
            group=groups[index],
            flexible=sides[index] == "heard" and _flexible(tokens, index),
            spare=spare[index],
            leads=index in leads,
            entails=token.entails,
        )
        for index, token in enumerate(tokens)
    ]


def _own_side(tokens: list[Token], index: int) -> str | None:
    kind = tokens[index].kind
    if kind == "seen_noun":
        return "seen"
    if kind == "action" and _describes(tokens, index):
        return "seen"
    if kind in HEARD_KINDS:
        return "heard"
    if kind == "either_noun":
        # "Wind in the trees" is a scene; "wind blows" is a sound.
        if index + 1 < len(tokens) and tokens[index + 1].kind == "seen_noun" and not tokens[index + 1].comma:
            return "seen"
        following = [token.kind for token in tokens[index + 1 : index + 5]]
        if following[:1] == ["preposition"]:
            head = next((kind for kind in following[1:] if kind in NOUNS | VERBS | {"setting"}), "")
            return "seen" if head == "seen_noun" else "heard"
        return "heard"
    if kind == "seen_adjective" and index and tokens[index - 1].kind == "seen_noun" and not tokens[index].comma:
        return "seen"  # "With its mouth open."
    if kind in ("seen_adjective", "either_adjective"):
        following = [token.kind for token in tokens[index + 1 :] if token.kind not in ADJECTIVES]
        return "seen" if following[:1] == ["seen_noun"] else "heard"
    return None


def _describes(tokens: list[Token], index: int) -> bool:
    """Whether a movement only describes a thing that sounds otherwise: "burning wood crackles", "folded wings"."""
    if not _modifies(tokens, index):
        return False
    head = next((token.kind for token in tokens[index + 1 :] if token.kind not in ADJECTIVES), "")
    return head == "seen_noun" and any(token.kind in ("sound", "heard_noun") for token in tokens)


def _phrases(tokens: list[Token]) -> list[int]:
    """Number the noun phrases: a new one begins behind a comma, a verb, a joining word, at an article."""
    numbers = []
    number = 0
    for index in range(len(tokens)):
        if index and _begins_phrase(tokens, index):
            number += 1
        numbers.append(number)
    return numbers


def _begins_phrase(tokens: list[Token], index: int) -> bool:
    before, token = tokens[index - 1], tokens[index]
    if token.comma and not (before.kind in ADJECTIVES and token.kind in ADJECTIVES):
        return True
    if token.kind in DETERMINERS and before.kind not in DETERMINERS:
        return True
    if before.kind in VERBS:
        return not _modifies(tokens, index - 1)
    return before.kind in JOINING | {"adverb", "particle", "auxiliary"}


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


def _determiner_side(tokens: list[Token], sides: list[str | None], index: int) -> str | None:
    phrase = [position for position in _noun_phrase(tokens, index) if position > index]
    seen = [position for position in phrase if sides[position] == "seen"]
    if not seen:
        return "heard" if any(sides[position] == "heard" for position in phrase) else None
    # "A loud engine" leaves "a engine": without its adjective the noun may ask for the other article.
    moved = tokens[index].text in ("a", "an") and seen[0] != index + 1
    if moved and (tokens[seen[0]].text[0] in VOWELS) != (tokens[index].text == "an"):
        return None
    return "seen"


def _flexible(tokens: list[Token], index: int) -> bool:
    """Whether a heard word can be seen as well: a thing's movement, weather, a thing in the distance."""
    kind = tokens[index].kind
    if kind == "either_noun":
        return index == 0 or tokens[index - 1].kind in JOINING | {"article"}
    if kind == "setting":
        before = index - 1
        while before > 0 and tokens[before].kind in DETERMINERS | {"preposition"}:
            before -= 1
        return tokens[before].kind == "seen_noun"
    if kind == "action":
        before = index - 1
        while before > 0 and tokens[before].kind == "auxiliary":
            before -= 1
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        follows = before >= 0 and (tokens[before].kind == "seen_noun" or tokens[before].text in SUBJECTS)
        return follows or (after is not None and after.kind == "seen_noun" and not after.comma)
    return False


def _auxiliary_side(tokens: list[Token], index: int) -> str | None:
    for token in tokens[index + 1 :]:
        if token.kind in VERBS | {"heard_adjective"}:
            return "heard"
        if token.kind not in ("auxiliary", "adverb"):
            return None
    return None


def _preposition_side(tokens: list[Token], sides: list[str | None], index: int) -> tuple[str | None, str | None]:
    """Return the side of a preposition, and the side that it may still serve where it is left out."""
    phrase = _noun_phrase(tokens, index + 1)
    own = {sides[position] for position in phrase}
    side = "seen" if "seen" in own else "heard" if "heard" in own else None
    if side is None:
        return None, None
    before = index - 1
    if index == 0 and tokens[index].text in PLACE:
        return side, None
    if tokens[index].text in ("of", "from"):
        return (side, None) if before >= 0 and sides[before] == side else (None, None)
    if tokens[index].text == "over" and before >= 0 and tokens[before].kind == "sound":
        return None, None  # "Speaks over music": two sounds at once, not a place.
    while before >= 0 and tokens[before].kind != "order" and not (tokens[before + 1].comma and before + 1 != index):
        if sides[before] == side and tokens[before].kind not in DETERMINERS:
            return side, None
        before -= 1
    return None, side if tokens[index].text in PLACE | PATH else None


def _conjunction_side(tokens: list[Token], sides: list[str | None], index: int) -> str | None:
    before = next((sides[position] for position in range(index - 1, -1, -1) if sides[position]), None)
    after = next((sides[position] for position in range(index + 1, len(tokens)) if sides[position]), None)
    if before == after == "seen":
        return "seen"
    heard_before = "heard" in sides[:index]
    return "heard" if heard_before and "heard" in sides[index + 1 :] else None
