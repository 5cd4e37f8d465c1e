"""Words, lemmas, language and the checks of a pair of parts."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.language.text import content_lemmas, is_english, process_text, text_problems, words


def test_text_is_processed_to_lower_case_words_with_single_spaces():
    assert process_text("  Three SLOW,  slow\trings\u2014softly!  (fading) ") == "three slow slow rings-softly fading"
    assert process_text("The man\u2019s voice; “loud”.") == "the man voice loud"
    assert process_text("ﬁre") == "fire"


@given(st.text() | st.text(alphabet="as'’- ."))
@example("the dog's's bark")
@settings(deadline=None)
def test_processing_twice_changes_nothing(text):
    once = process_text(text)
    assert process_text(once) == once
    assert words(once) == words(text)


def test_lemmas_see_through_inflection_and_hyphens():
    assert content_lemmas("the bells are ringing") == content_lemmas("A bell rings")
    assert {"pitch", "high"} <= content_lemmas("high-pitched")
    assert content_lemmas("in the and of with two") == set()


@pytest.mark.parametrize("text", ["a dog barks", "Wind in tiny trees howls", "clacking, whooshing, ticktocking"])
def test_english_is_taken_for_english(text):
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ein Hund bellt laut in der Nacht",
        "Un chien aboie fort dans la rue",
        "El perro ladra muy fuerte",
        "il cane abbaia forte",
        "um cachorro late alto na rua",
        "собака громко лает",
        "犬が吠える",
        "xqz vrrt blorp",
        "",
    ],
)
def test_other_languages_are_not(text):
    assert not is_english(text)


@pytest.mark.parametrize(
    ("visual_part", "text_part", "problems"),
    [
        ("a small brass bell", "rings slowly and softly", []),
        ("", "rings slowly and softly", ["visual_part_empty"]),
        ("a bell", "rings slowly and softly", ["visual_part_too_short"]),
        ("a small old brass bell in a church", "rings slowly and softly", ["visual_part_too_long"]),
        ("a small bell", "!?", ["text_part_empty"]),
        ("a small bell", "rings softly", ["text_part_too_short"]),
        ("a small bell", "rings and rings again and again very softly", ["text_part_too_long"]),
        ("a drum in a hall", "drums slowly and loudly", ["shared_words"]),
        ("in the hall", "in the evening softly", []),
        ("un petit chien", "aboie dans la rue", ["not_english"]),
        ("", "", ["visual_part_empty", "text_part_empty", "not_english"]),
    ],
)
def test_each_problem_has_its_code(visual_part, text_part, problems):
    assert text_problems(visual_part, text_part, 3, 7) == problems
