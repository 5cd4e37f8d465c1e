"""What grammar gives the verbs of a clause that lost its subject; it says no more than the caption."""

from __future__ import annotations

import re
from dataclasses import replace

from stages.language.sides import JOINING, Side, word_count
from stages.language.tagging import ADJECTIVES, DETERMINERS, NOTHING, NOUNS, VERBS, Token, neighbours, opening
from stages.language.text import lemma

# What joins a participle once the subject is gone, and how it then reads: "as a dog barks" -> "while barking".
PARTICIPLE_BEHIND = {"as": "while", "while": "while", "before": "before", "after": "after", "when": "when"}
HELPING = frozenset({"auxiliary", "adverb"}) | ADJECTIVES
# One short syllable (chug, hum, clip-clop), or a last one that is stressed.
DOUBLING = re.compile(r"(?:\w+-)?[^aeiou]*(?:qu)?[aeiou][^aeiouwxy]|begin|occur|emit|propel|unwrap|unzip")


def as_said_alone(heard: Side, tokens: Side, min_words: int) -> Side:
    """Give the words that are heard the forms and the joining words that they need without what is seen.

    Behind "while" a verb takes its participle ("talking while clattering"). Sounds of two subjects are joined
    ("whispers and giggles"). Where a word is lacking to `min_words`, a verb takes its
    progressive form ("is barking loudly").

    Args:
        heard: what goes to the text part, in the caption's order.
        tokens: the whole caption.
        min_words: fewest words of a part.
    """
    heard = _joined(_during(heard, tokens), tokens)
    if not heard or word_count(heard) != min_words - 1:
        return heard
    subject, adverbs = _subject(tokens, heard[0]), [token for token in heard if token.kind == "adverb"]
    adverbs = adverbs if heard[: len(adverbs)] == adverbs else []  # "water softly trickling"
    verb, *rest = heard[len(adverbs) :] or heard
    verbs = [token for token in heard if token.kind in VERBS and "heard_noun" not in token.classes]
    if heard == verbs and len(verbs) == 2 and verb.phrase != heard[1].phrase:
        return [verb, replace(verb, text="and", kind="conjunction", classes={}), heard[1]]
    alone = sum(token.kind in VERBS for token in heard) == 1
    if verb.kind not in VERBS or subject.kind not in NOUNS | {"action"} or not alone:
        return heard
    several = subject.plural or any(token.text == "and" for token in tokens[: verb.position])
    if verb.text != lemma(verb.text) and not verb.text.endswith("ing"):
        if not verb.text.endswith("s"):
            return heard  # past tense
        several = False
    auxiliary = replace(verb, text="are" if several else "is", kind="auxiliary")
    return [auxiliary, *adverbs, _in_ing(verb), *rest]


def _during(heard: Side, tokens: Side) -> Side:
    """Turn the verbs behind "while" or "as" into participles where their subject is gone."""
    kept: Side = []
    during = False
    for token in heard:
        at = len(kept) - 1
        while at > 0 and kept[at].kind in HELPING:
            at -= 1
        gone = at >= 0 and token.position > kept[at].position + len(kept) - at
        before = neighbours(tokens, token.position)[0]
        is_verb = token.kind in VERBS and before.text != "to" and before.kind not in DETERMINERS | ADJECTIVES
        if is_verb and gone and kept[at].text in PARTICIPLE_BEHIND:
            during, kept[at] = True, replace(kept[at], text=PARTICIPLE_BEHIND[kept[at].text])
            kept = [other for other in kept if other.kind != "auxiliary" or other.position < kept[at].position]
            if before.text in ("is", "are", "was", "were") and not token.text.endswith("ing"):
                kept.append(replace(token, text="being", kind="auxiliary"))  # "as a gun is fired"
        during = during and token.kind != "order"
        if during and is_verb and (token.text == lemma(token.text) or token.text.endswith("s")):
            token = _in_ing(token)
        kept.append(token)
    return kept


def _joined(heard: Side, tokens: Side) -> Side:
    """Join the sounds of two subjects: "a dog whimpers with birds chirping" -> "whimpers with chirping"."""
    joined: Side = []
    for token in heard:
        at = len(joined)
        while at > 0 and joined[at - 1].kind in ADJECTIVES:
            at -= 1
        verbs = [other for other in joined[:at] if other.kind in VERBS]
        if verbs and _is_sound_of_its_own(tokens, token) and joined[at - 1].kind not in JOINING | HELPING:
            mixed = token.text.endswith("ing") and not verbs[-1].text.endswith("ing")
            joining = replace(token, text="with" if mixed else "and", kind="conjunction", classes={})
            joined.insert(at, joining)
        joined.append(token)
    return joined


def _is_sound_of_its_own(tokens: Side, verb: Token) -> bool:
    """Whether a verb stands behind its subject, or before it: "with men speaking", "with a honking horn".

    "Squealing tires" and "making a hiss" go on with what was said before.
    """
    if verb.kind not in VERBS or "heard_noun" in verb.classes:
        return False
    after = neighbours(tokens, verb.position)[1]
    if not verb.text.endswith("ing") or after.comma or after.kind not in NOUNS | ADJECTIVES | DETERMINERS | {"pronoun"}:
        # "The roar of a waterfall": there a thing only says whose sound is meant.
        return _subject(tokens, verb) is not NOTHING and opening(tokens, verb.position - 1).text != "of"
    before = [token.text for token in tokens[: verb.position] if token.kind not in DETERMINERS | ADJECTIVES]
    return after.kind in NOUNS and before[-1:] == ["with"]


def _subject(tokens: Side, verb: Token) -> Token:
    """The thing that is seen right before a verb."""
    before = neighbours(tokens, verb.position)[0] if verb.position and not verb.comma else NOTHING
    return before if before.side == "seen" else NOTHING


def _in_ing(verb: Token) -> Token:
    """A phrase's first word is its verb: "carries on"."""
    first, *more = verb.text.split(" ")
    return replace(verb, text=" ".join([participle(first), *more]))


def participle(verb: str) -> str:
    """The form in -ing of a verb in its base form, third person or that form: barks, whistle, die, chugs."""
    if verb.endswith("ing") and (len(verb) > 5 or lemma(verb) != verb):
        return verb
    base = lemma(verb) if verb.endswith("s") else verb
    base = base[:-1] if base.endswith("cks") else base  # "ticktocks" is in no dictionary
    if base.endswith("c"):
        return base + "king"
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1] + "ing"
    return base + (base[-1] if DOUBLING.fullmatch(base) else "") + "ing"
