"""The demo as a person meets it: opened, filled in and played in a real Chromium."""

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.commands import demo
from stages.commands import main as commands
from stages.inference.generator import Generator
from tests.browser import chromium

SERVED = "http://127.0.0.1:"


@pytest.fixture
def address(models, monkeypatch):
    """Where the demo of a small run is served."""
    pytest.importorskip("gradio", reason="Gradio is not installed: `make demo` does")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    Image.new("RGB", (40, 40), "red").save("red.png")
    generator = Generator(experiment=("a", "b", "reference"))
    blocks = demo.build(generator, [["rings slowly", str(models / "red.png")]])
    _, url, _ = blocks.launch(server_name=demo.HOST, prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield url
    blocks.close()


def make(page):
    page.locator("#generate").click()
    page.locator("#clip-a").get_by_label("Play", exact=True).wait_for()


def test_a_prompt_becomes_clips_side_by_side_that_play(address):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.get_by_label("Steps").first.wait_for()
        page.get_by_label("Steps").first.fill("1")
        page.locator("#generate").click()
        page.get_by_text("text and image are both missing").wait_for()
        page.get_by_label("Text").fill("rings three times")
        make(page)
        boxes: list[Any] = [page.locator(f"#clip-{name}").bounding_box() for name in ("a", "b", "reference")]
        assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]
        assert boxes[0]["y"] == boxes[2]["y"]
        for name in ("a", "b", "reference"):
            clip = page.locator(f"#clip-{name}")
            clip.locator("img").wait_for()
            assert clip.locator("img").evaluate("image => image.naturalWidth / image.naturalHeight") == 2
        clip.get_by_label("Play", exact=True).click()
        clip.get_by_label("Pause", exact=True).wait_for()
        clip.get_by_text("0:01").wait_for()
        page.get_by_text("rings slowly").click()
        page.wait_for_function("document.querySelector('textarea,input').value === 'rings slowly'")
        assert [url for url in requests if not url.startswith((SERVED, "data:", "blob:"))] == []


def test_an_image_alone_and_one_that_is_drawn_steer_and_an_empty_editor_does_not(models, tmp_path):
    generator = Generator(experiment=("a", "reference"))
    nothing = Image.new("RGBA", (30, 30))
    drawn = nothing.copy()
    drawn.paste("red", (5, 5, 20, 20))
    settings = (0, 2.56, 1, 1.0)
    with_text = demo.clips(generator, "rings", {"composite": drawn}, *settings)
    without = demo.clips(generator, "rings", {"composite": nothing}, *settings)
    assert not np.array_equal(with_text[0][1], without[0][1])
    assert np.array_equal(without[0][1], demo.clips(generator, "rings ", None, *settings)[0][1])
    alone = demo.clips(generator, "", {"composite": drawn}, *settings)
    assert alone[2:4] == [None, None]
    assert alone[0][0] == 16_000
    assert len(alone[0][1]) == 40_960
    with pytest.raises(ValueError, match="both missing"):
        demo.clips(generator, " ", {"composite": nothing}, *settings)


def test_without_gradio_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match="`make demo`"):
        commands.main(["demo"])
