"""The listening page as a person meets it: opened, looked at and played in a real Chromium."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from stages.params.schema import load_params
from stages.report.listening_page import credits, mel_picture, write_listening_page
from tests.browser import chromium

SAMPLE_RATE = 16_000
SYSTEMS = ["real", "codec", "reference", "experiment_a", "experiment_b", "floor"]
NASTY = "A <b>bell</b> & \"dog\" 'bark' $title </script><script>window.harmed = 1</script>"


def clip(seconds, pitch):
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 100 * pitch * time)).astype(np.float32)


def rows(folder):
    image = folder / "image.png"
    Image.linear_gradient("L").convert("RGB").save(image)
    first = {system: clip(0.5 if index < 2 else 20, index + 2) for index, system in enumerate(SYSTEMS)}
    second = {system: clip(20, index + 9) for index, system in enumerate(SYSTEMS) if system != "codec"}
    return [
        row("one", ["A bell rings twice", "a bronze bell", "rings twice"], image, first, ["bell"], a=0.5, b=0.3),
        row("two", [NASTY] * 3, image, second, ["bell", "dog"], a=0.2, b=0.3),
        row("three", ["Nothing was made", "a dog", "barks"], None, {}, ["dog"]),
    ]


def row(name, texts, image, clips, sources, **scores):
    about = dict(zip(("caption", "visual_part", "text_part"), texts, strict=True), image=image, sources=sources)
    group = "one source" if len(sources) == 1 else "a pair of sources"
    return {
        "id": name,
        **about,
        "clips": clips,
        "scores": {f"experiment_{one}": score for one, score in scores.items()},
        "group": group,
    }


def write(path, folder, **changes):
    summary = {
        "real": {"fad": 0.0, "source_accuracy": 0.934, "clap_score": 0.61},
        "experiment_a": {"fad": 4.25, "source_accuracy": 0.5, "clap_score": 0.333, "unknown": 9.0},
    }
    settings = {
        "title": "Listening & more",
        "rows": rows(folder),
        "systems": SYSTEMS,
        "summary": summary,
        "doubts": ["too <small>: 8 captions", NASTY],
        "notes": ["Drawn from <OpenMoji>."],
    }
    write_listening_page(path, **{**settings, **changes})


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write(folder / "index.html", folder)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


def opened(browser, page_file):
    """The opened page; its security policy is lifted, since Playwright's waiting evaluates strings."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    yield page
    context.close()


page = pytest.fixture(opened)
still = pytest.fixture(scope="module")(opened)  # one for all tests that only look at it


def time_of(place):
    return f"document.querySelectorAll('audio')[{place}].currentTime"


# A player's state changes at once and its event comes a little later: a person sees the clip's class, so wait for both.
def wait_until_silent(page):
    page.wait_for_function(
        "[...document.querySelectorAll('audio')].every(a => a.paused) && !document.querySelector('.playing')"
    )


def was_cut_short(page, place):
    """A long clip that merely ran out would be silent too, some 20 s later."""
    return page.evaluate(f"!document.querySelectorAll('audio')[{place}].ended && {time_of(place)} > 0")


def wait_until_only(page, place):
    page.wait_for_function(
        f"[...document.querySelectorAll('audio')].every((a, i) => a.paused === (i !== {place})"
        f" && a.closest('.clip').classList.contains('playing') === (i === {place})) && {time_of(place)} > 0"
    )


def test_opens_without_errors_and_without_the_network(browser, page_file):
    context = browser.new_context()
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    page.locator(".play").first.click()
    page.locator(".playing").wait_for()
    outside = [url for url in requests if not url.startswith(("data:", page_file.as_uri()))]
    assert (complaints, outside) == ([], [])
    assert page.locator("a[href]:not([href^='#'])").count() == 0
    context.close()


def test_every_image_decodes(still):
    assert still.locator("img").count() == 2 + 11
    still.evaluate("() => Promise.all([...document.images].map(image => image.decode()))")


def test_what_comes_from_data_is_shown_as_text(still):
    assert still.title() == "Listening & more"
    assert still.locator("#two h3").inner_text() == NASTY
    assert still.locator("#two .parts dd:not(.gap)").all_inner_texts() == [NASTY, NASTY]
    assert still.evaluate("window.harmed") is None
    assert still.locator("footer").inner_text() == "Drawn from <OpenMoji>."
    assert still.locator("#two").get_by_role("button", name=f"Play Experiment A: {NASTY}", exact=True).count() == 1


def test_doubts_stand_above_the_results_and_a_conclusive_run_has_none(still, tmp_path):
    assert still.locator(".doubts li").all_inner_texts() == ["too <small>: 8 captions", NASTY]
    order = "document.querySelector('.doubts').compareDocumentPosition(document.querySelector('table'))"
    assert still.evaluate(order) == 4
    write(tmp_path / "a.html", tmp_path, doubts=[])
    assert "<li>" not in (tmp_path / "a.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("corpus", "backend", "images", "audio"),
    [
        ("soundworld", "pictograms", "OpenMoji pictograms (CC BY-SA 4.0)", "soundworld"),
        ("esc10", "flux", "black-forest-labs/FLUX.1-schnell", "ESC-10 (Piczak 2015, CC BY"),
        ("audiofolder", "corpus", "those of an audiofolder", "audiofolder"),
    ],
)
def test_credits_go_to_who_painted_and_recorded(corpus, backend, images, audio):
    """OpenMoji was credited whoever painted."""
    text = credits(corpus, load_params().images.model_copy(update={"backend": backend}))
    assert images in text and audio in text  # noqa: PT018
    assert ("OpenMoji" in text) == (backend == "pictograms")


def test_table_shows_the_metrics_that_there_are(still):
    head = [text.split("\n")[0] for text in still.locator("thead th").all_inner_texts()]
    assert head == ["System", "FAD", "CLAP score", "Source accuracy"]
    cells = [row.split("\t") for row in still.locator("tbody tr").all_inner_texts()]
    assert [[cell.replace("\xa0", " ") for cell in row] for row in cells] == [
        ["Real audio", "0.00", "0.610", "93.4 %"],
        ["Experiment A", "4.25", "0.333", "50.0 %"],
    ]


def test_a_clip_plays_to_its_end(page):
    page.locator(".play").nth(1).click()
    page.wait_for_function(f"{time_of(1)} > 0.1")
    assert page.locator(".clip").nth(1).evaluate("clip => clip.classList.contains('playing')")
    page.wait_for_function("document.querySelectorAll('audio')[1].ended")
    page.wait_for_function("document.querySelectorAll('.playing').length === 0")
    assert page.evaluate("document.querySelectorAll('audio')[1].error") is None


def test_playing_one_stops_the_other_and_a_second_press_stops_it(page):
    page.locator(".play").nth(2).click()
    wait_until_only(page, 2)
    page.locator(".play").nth(3).click()
    wait_until_only(page, 3)
    page.locator(".play").nth(3).click()
    wait_until_silent(page)
    assert was_cut_short(page, 2)
    assert was_cut_short(page, 3)


def test_play_row_goes_through_the_systems(page):
    page.locator("#one .row").click()
    wait_until_only(page, 0)
    wait_until_only(page, 1)
    wait_until_only(page, 2)
    page.keyboard.press("Escape")
    wait_until_silent(page)
    assert was_cut_short(page, 2)


def test_keys_play_and_move_and_tab_stops_once_a_caption(page):
    assert page.locator(".play[tabindex='0']").count() == 2
    page.keyboard.press(" ")
    wait_until_only(page, 0)
    focused = "document.activeElement.getAttribute('aria-label')"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "Play Codec round trip: A bell rings twice"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    wait_until_only(page, 2)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused).startswith("Play CLAP reference: A <b>bell")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused).startswith("Play Real audio: A <b>bell"), "a missing clip is stepped over"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused).startswith("Play Real audio: A <b>bell"), "the edge holds"
    page.keyboard.press("Escape")
    wait_until_silent(page)
    assert was_cut_short(page, 2)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_at_any_width(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    narrowest = page.evaluate("Math.min(...[...document.querySelectorAll('.play')].map(b => b.clientWidth))")
    assert narrowest > 100


def test_follows_the_colour_scheme(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert light != page.evaluate(paper)


def test_missing_clips_and_images_are_said(still):
    assert still.locator("#two .none").inner_text() == "no clip"
    assert still.locator("#three .noimage").inner_text() == "no image"
    assert still.locator("#three .row").is_hidden()


def test_without_scripts_the_browsers_own_players_stand(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("audio[controls]").first.is_visible()
    assert page.locator(".play").first.is_disabled()
    assert page.locator(".row").first.is_hidden()
    context.close()


def test_same_inputs_same_bytes_and_lossless_audio(tmp_path):
    write(tmp_path / "a.html", tmp_path)
    write(tmp_path / "b.html", tmp_path)
    text = (tmp_path / "a.html").read_text("utf-8")
    assert text == (tmp_path / "b.html").read_text("utf-8")
    encoded = re.findall(r"data:audio/flac;base64,([^\"]+)", text)
    waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded[0])), dtype="float32")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(waveform, clip(0.5, 2), atol=1 / 32768)


def test_mel_picture_has_low_bands_below_and_loud_bright():
    waveform = torch.from_numpy(clip(1, 1))
    waveform[: SAMPLE_RATE // 2] = 0
    picture = np.asarray(mel_picture(waveform).convert("L"), dtype=int)
    early, late = picture[:, :20], picture[:, -20:]
    assert len(picture) == 80
    assert late[:40].max() < 100 < 150 < late[-8:].max()
    assert early.max() < 10


def test_a_missing_image_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.png: no such image"):
        write(tmp_path / "a.html", tmp_path, rows=[row("one", "abc", tmp_path / "none.png", {}, ["bell"])])


def captions_shown(page):
    return page.locator("article:visible").evaluate_all("all => all.map(article => article.id)")


def test_captions_are_filtered_by_source_and_kind(page):
    page.select_option("[name=source]", "bell")
    assert captions_shown(page) == ["one", "two"]
    page.select_option("[name=group]", "a pair of sources")
    assert captions_shown(page) == ["two"]
    page.keyboard.press("Escape")
    page.select_option("[name=source]", "dog")
    page.select_option("[name=group]", "one source")
    assert captions_shown(page) == ["three"]


def test_captions_are_sorted_by_the_gap_between_a_and_b(page):
    for order, ids in (("a", "one three two"), ("b", "two three one"), ("gap", "one two three"), ("", "one two three")):
        page.select_option("[name=order]", order)
        assert captions_shown(page) == ids.split()


def test_a_clip_that_a_filter_hides_stops(page):
    page.locator("#one .play").nth(2).click()
    wait_until_only(page, 2)
    page.select_option("[name=group]", "a pair of sources")
    wait_until_silent(page)
    page.keyboard.press("Space")
    page.locator("#two .playing").wait_for()


@pytest.mark.parametrize("drawn", [0.1, 0.9])
def test_the_blind_comparison_hides_whose_a_clip_is_and_the_saved_tally_knows(page, drawn):
    page.evaluate(f"Math.random = () => {drawn}")
    first, second = ("experiment_b", "experiment_a") if drawn < 0.5 else ("experiment_a", "experiment_b")
    page.keyboard.press("b")
    assert captions_shown(page) == ["one", "two"], "without clips of both there is nothing to compare"
    assert page.locator("#one .clip:visible .name").all_inner_texts() == ["First", "Second"]
    visible = page.locator("#one").inner_text() + " ".join(
        page.locator("#one button:visible").evaluate_all("all => all.map(one => one.getAttribute('aria-label') || '')")
    )
    assert "Experiment" not in visible
    assert "CLAP score" not in visible
    page.locator("#one .play:visible").first.focus()
    page.keyboard.press("f")
    for key in ("2", "2", "1", "ArrowRight"):
        page.keyboard.press(key)  # pressed again, a rating is taken back
    page.keyboard.press("3")
    page.locator("#two").get_by_role("button", name="Neither").click()
    assert "Experiment" not in page.locator(".tally").inner_text()
    page.keyboard.press("b")
    assert page.locator("#one .name").all_inner_texts()[3:5] == ["Experiment A", "Experiment B"]
    assert ("B 1, neither 1" in page.locator(".tally").inner_text()) == (first == "experiment_b")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the tally").click()
    saved = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert saved["preferred"] == {"experiment_a": 0, "experiment_b": 0, "tie": 1} | {first: 1}
    assert saved["votes"] == [{"id": "one", "preferred": first}, {"id": "two", "preferred": "tie"}]
    assert saved["rated"] == {
        first: {"good": 1, "usable": 0, "unusable": 0},
        second: {"good": 0, "usable": 0, "unusable": 1},
    }
