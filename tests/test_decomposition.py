"""The rule-based decomposer: its promises on any text, its answers on real captions, its table."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.commands import decomposition_report
from stages.formats.files import read_jsonl, write_jsonl
from stages.language.clauses import participle
from stages.language.lexicon import _lexicon, function_class
from stages.language.rules import decompose
from stages.language.text import content_lemmas, text_problems, words

ROOT = Path(__file__).parents[1]
SMALL_WORDS = ["a", "an", "the", "two", "another", "of", "in", "on", "with", "by", "while", "as", "then", "and", "is"]
FORMS = ["dogs", "barking", "drums", "drumming", "whistles", "sawing", "saws", "zither", "glorious", ",", ".", "'s"]
VOCABULARY = [*sorted(_lexicon()), *SMALL_WORDS * 20, *FORMS * 20]
captions = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=24).map(" ".join)
sizes = st.tuples(st.integers(1, 5), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


GIVEN = ("there", "is", "are", "being", "a", "an", "and", "while", "with", "then", "after")  # by grammar


def promises_hold(caption: str, min_words: int, max_words: int) -> None:
    found = decompose(caption, min_words, max_words)
    assert found == decompose(caption, min_words, max_words)
    if found.reason is not None:
        assert found.visual_part is None
        assert found.text_part is None
        assert found.added == ()
        return
    assert found.visual_part is not None
    assert found.text_part is not None
    assert text_problems(found.visual_part, found.text_part, min_words, max_words) == []
    assert not content_lemmas(found.visual_part) & content_lemmas(found.text_part)
    own = words(caption)
    left = words(found.visual_part) + words(found.text_part)
    for word in found.added:
        assert word not in own
        left.remove(word)
    for word in left:  # Each of the caption's words is used at most once; grammar alone may change its form.
        forms = [other for other in own if {word, other} <= {"a", "an"} or participle(other) == word]
        if word not in own and not forms:
            assert word in GIVEN, f"{caption}: {word}"
        else:
            own.remove(word if word in own else forms[0])
    assert all(function_class(word) is None for word in found.added), "a filler was added"


@given(st.text(max_size=80), sizes)
@settings(deadline=None)
def test_any_text_gives_sound_parts_or_a_reason(text, size):
    promises_hold(text, *size)


@given(captions, sizes)
@settings(max_examples=250, deadline=None)
@example("A person drumming on drums while drums drum", (3, 7))
@example("An owl hoots", (3, 7))
def test_any_english_words_give_sound_parts_or_a_reason(caption, size):
    promises_hold(caption, *size)


@pytest.mark.parametrize(
    ("caption", "visual_part", "text_part"),
    [
        (
            "A small brass bell in a church rings slowly and softly, fading away.",
            "a small brass bell in a church",
            "rings slowly and softly fading away",
        ),
        ("A man speaks followed by a dog barking loudly", "a man, a dog", "speaks followed by barking loudly"),
        (
            "A large dog and small waves are heard, first softly, then loudly.",
            "a large dog and small waves",
            "are heard first softly then loudly",
        ),
        (
            "Wind in tiny trees by a lake howls long and briskly",
            "wind in tiny trees by a lake",
            "howls long and briskly",
        ),
        (
            "A siren wails loudly and slowly as it passes by",
            "there is a siren",
            "wails loudly and slowly while passing by",
        ),
        ("Rain falls on a tin roof, steadily and quietly", "rain on a tin roof", "falls steadily and quietly"),
    ],
)
def test_captions_are_split_as_a_reader_would(caption, visual_part, text_part):
    found = decompose(caption, 3, 7)
    assert (found.visual_part, found.text_part, found.added) == (visual_part, text_part, ())


def test_added_words_follow_from_the_definition_and_are_named():
    found = decompose("A dog barks", 3, 7)
    assert (found.visual_part, found.text_part) == ("there is a dog", "short sharp barks")
    assert found.added == ("short", "sharp")


@pytest.mark.parametrize(
    ("caption", "visual_part", "text_part"),
    [
        ("A rooster crows loudly", "there is a rooster", "is crowing loudly"),
        ("A woolly sheep bleats", "a woolly sheep", "wavering nasal bleats"),
    ],
)
def test_nothing_is_added_that_the_caption_says_or_denies(caption, visual_part, text_part):
    found = decompose(caption, 3, 7)
    assert (found.visual_part, found.text_part) == (visual_part, text_part)


@pytest.mark.parametrize(
    ("caption", "visual_part", "text_part"),
    [
        ("The old donkey brays noisily on the ice.", "the old donkey on the ice", "is braying noisily"),
        ("Crickets chirp continuously in the tall grass.", "crickets in the tall grass", "are chirping continuously"),
        ("A man and a woman humming softly", "a man and a woman", "are humming softly"),
        (
            "A little girl whispers something. Her brother giggles.",
            "a little girl, her brother",
            "whispers and giggles",
        ),
        (
            "People are talking in a cafe while dishes clatter",
            "people in a cafe, dishes",
            "are talking while clattering",
        ),
        ("A red race car speeds by with a deafening roar", "a red race car", "speeds by with a deafening roar"),
        ("A tall man hammers nails loudly and quickly", "a tall man, nails", "hammers loudly and quickly"),
        (
            "Someone knocks hard on a wooden door. Nobody answers.",
            "someone, a wooden door",
            "knocks hard nobody answers",
        ),
        ("A young cat hisses and growls at another cat", "a young cat, another cat", "hisses and growls"),
        ("A very loud engine with a whistle idles and revs", "an engine with a whistle", "very loud idles and revs"),
        ("Water is running from a faucet and draining", "water from a faucet", "is running and draining"),
        ("A man, a dog and loud wind blowing into a microphone", "a man, a dog", "loud wind blowing"),
        ("Deep thunder rumbles over the mountains", "there are mountains", "deep thunder rumbles"),
        ("People speak as wind blows", "there are people", "speak as wind blows"),
        ("A man speaks as a strong wind blows", "there is a man", "speaks as a strong wind blows"),
        ("An owl hoots softly and slowly outside", "there is an owl", "hoots softly and slowly outside"),
        ("People clap and speak in the distance", "there are people", "clap and speak in the distance"),
        ("A couple of babies cry loudly and long", "a couple of babies", "cry loudly and long"),
        ("An electronic device bleeps once", "an electronic device", "is bleeping once"),
        ("A rotating machine works nearby", "there is a machine", "rotating and works nearby"),
        ("A person snores lightly while sleeping", "there is a person", "snores lightly while sleeping"),
        ("A dog whimpers with birds chirping", "a dog with birds", "whimpers with chirping"),
        ("Water splashes and a man is speaking softly", "water, a man", "splashes and is speaking softly"),
        ("A cat purrs and a man talks as it is raining", "a cat, a man", "purrs and talks while raining"),
        ("A man speaks, then dials a rotary telephone", "a man, a rotary telephone", "speaks then dials"),
        ("A big drum booms, water splashes and the drum fades", "a big drum, water", "booms and splashes and fades"),
        ("A train passes by followed by a horn", "there is a train", "passes by followed by a horn"),
        ("An alarm is going off loudly", "there is an alarm", "is going off loudly"),
        ("Birds chirp and an owl hoots before a man speaks", "birds, an owl, a man", "chirp and hoots before speaking"),
        ("A man talks while a gun is fired", "a man, a gun", "talks while being fired"),
        ("A man speaks with crowd sounds", "a man, crowd", "speaks with sounds"),
        ("A tall man speaks over soft music", "a tall man", "speaks over soft music"),
    ],
)
def test_captions_as_people_write_them_need_no_word_that_is_not_theirs(caption, visual_part, text_part):
    found = decompose(caption, 3, 7, add_words=False)
    assert (found.visual_part, found.text_part, found.added) == (visual_part, text_part, ())


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        *(("barks", "barking"), ("whistle", "whistling"), ("dies", "dying"), ("chugs", "chugging"), ("saw", "sawing")),
        *(("begins", "beginning"), ("mimics", "mimicking"), ("hisses", "hissing"), ("gallops", "galloping")),
        *(("squeaks", "squeaking"), ("blow", "blowing"), ("quits", "quitting"), ("ringing", "ringing")),
    ],
)
def test_verbs_take_their_participle(verb, form):
    assert participle(verb) == form


NOUNS = [word for word, classes in _lexicon().items() if "seen_noun" in classes]


def test_a_picture_gets_no_word_that_the_caption_lacks():
    assert len(NOUNS) > 500
    for noun in NOUNS:
        assert decompose(f"A {noun} hums loudly and steadily", 3, 7).added == ()


def test_joining_words_outlive_what_says_less():
    found = decompose(
        "A man talking loudly followed by another man yelling in the background then an engine starting as dogs bark",
        3,
        7,
    )
    assert found.text_part == "talking then yelling then starting while barking"


def test_added_words_can_be_forbidden():
    assert decompose("A dog barks", 3, 7, add_words=False).reason == "text_part_too_short"
    assert decompose("A furry dog barks", 3, 7, add_words=False).reason == "text_part_too_short"


MANNERS = {
    "loudly": {"loud", "soft", "quiet", "light", "gentle", "feeble"},
    "quietly": {"loud", "soft", "quiet", "light"},
    "softly": {"loud", "soft", "harsh", "hard", "gentle", "heavy", "violent", "forceful"},
    "gently": {"loud", "soft", "harsh", "hard", "gentle", "heavy", "violent", "forceful"},
    "harshly": {"harsh", "soft", "gentle"},
    "continuously": {"short", "continuous", "sudden"},
    "briefly": {"short", "long", "prolonged", "continuous"},
    "slowly": {"slow", "fast", "quick", "rapid"},
    "quickly": {"slow", "fast", "quick", "rapid"},
}


@pytest.mark.parametrize("manner", MANNERS)
def test_no_verb_of_the_lexicon_gets_a_word_that_its_adverb_repeats_or_contradicts(manner):
    verbs = [word for word, classes in _lexicon().items() if classes.get("sound")]
    assert len(verbs) > 150
    for verb in verbs:
        added = set(decompose(f"A dog {verb}s {manner}", 3, 7).added)
        assert not added & MANNERS[manner], f"{verb}s {manner}: {added}"


@pytest.mark.parametrize(
    "caption", ["Young man speaking and laughing loudly", "Adult female speaking and laughing loudly"]
)
def test_what_is_said_of_a_thing_is_neither_repeated_nor_contradicted(caption):
    assert "grown" not in decompose(caption, 3, 7).added


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        ("", "caption_empty"),
        (" ?! ", "caption_empty"),
        ("a dog barks and " * 2500 + "howls", "caption_too_long"),
        ("Ein Hund bellt laut in der Nacht", "not_english"),
        ("Loud, continuous buzzing and hissing", "nothing_seen"),
        ("A red car in a garage", "nothing_heard"),
    ],
)
def test_what_cannot_be_split_says_why(caption, reason):
    assert decompose(caption, 3, 7).reason == reason


def test_long_captions_are_cut_to_the_limit():
    caption = "A man, a child, a dog, a cat, a cow, a pig, a hen and a goat " + "shout loudly and " * 5 + "laugh"
    found = decompose(caption, 3, 7)
    assert found.reason is None
    assert len(words(found.visual_part or "")) == 7
    assert len(words(found.text_part or "")) <= 7


def test_stage_writes_a_row_for_every_clip(tmp_path, monkeypatch):
    captions_in = ["A bell rings slowly in a church, fading away", "", "Loud buzzing"]
    clips = [{"id": f"clip-{n}", "split": "train", "caption": text} for n, text in enumerate(captions_in)]
    write_jsonl(tmp_path / "data/corpus/metadata.jsonl", reversed(clips))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)

    from stages.decompose import main

    main()
    rows = read_jsonl("data/decomposed.jsonl")
    assert [row["id"] for row in rows] == ["clip-0", "clip-1", "clip-2"]
    assert [row["reason"] for row in rows] == [None, "caption_empty", "nothing_seen"]
    assert list(rows[0]) == ["id", "split", "caption", "visual_part", "text_part", "added", "reason"]
    assert rows[0]["visual_part"] == "a bell in a church"
    first = Path("data/decomposed.jsonl").read_bytes()
    main()
    assert Path("data/decomposed.jsonl").read_bytes() == first


def test_stage_starts_without_torch():
    code = "import sys, stages.decompose; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_report_counts_every_caption_once(tmp_path, capsys):
    source = tmp_path / "captions.csv"
    source.write_text("id,caption\n1,A man speaks followed by a dog barking\n2,A dog barks\n3,Loud buzzing\n4,\n")
    parser = argparse.ArgumentParser()
    decomposition_report.add_arguments(parser)
    decomposition_report.main(parser.parse_args([str(source), "--out", str(tmp_path / "report.tsv")]))
    table = (tmp_path / "report.tsv").read_text().splitlines()
    assert table == [
        "outcome\tcaptions\tshare",
        "own_words\t1\t0.25",
        "added_words\t1\t0.25",
        "failed_caption_empty\t1\t0.25",
        "failed_nothing_seen\t1\t0.25",
        "all\t4\t1",
    ]
    assert "| own_words | 1 | 25.0% |" in capsys.readouterr().out


def test_report_names_the_missing_column(tmp_path):
    source = tmp_path / "captions.csv"
    source.write_text("id,text\n1,A dog barks\n")
    with pytest.raises(ValueError, match="no column 'caption'"):
        decomposition_report.read_captions(source, "caption")


@pytest.mark.slow
def test_all_audiocaps_test_captions_keep_the_promises_and_are_the_documented_table(corpora):
    captions_in = decomposition_report.read_captions(corpora / "audiocaps" / "test.csv", "caption")
    assert len(captions_in) == 4875
    for caption in captions_in:
        promises_hold(caption, 3, 7)
    document = (ROOT / "docs" / "decomposition.md").read_text()
    found = [decompose(caption, 3, 7) for caption in captions_in]
    assert sum(bool(one.added) for one in found) <= 0.1 * sum(one.reason is None for one in found)
    for row in decomposition_report.report(found):
        assert f"| {row['outcome']} | {row['captions']} | {row['share']:.1%} |" in document
