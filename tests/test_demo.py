"""The demo as a person meets it: opened, filled in and played in a real Chromium."""

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.commands import demo
from stages.commands import main as commands
from stages.formats.files import write_jsonl
from stages.inference.generator import Generator
from tests.browser import chromium
from tests.scratch_clone import ROOT
from tests.serving import free_port, serving

SERVED = "http://127.0.0.1:"


@pytest.fixture
def served(models, monkeypatch):
    """`bind-an-audio demo` of a small run, on a port that is its last word."""
    pytest.importorskip("gradio", reason="Gradio is not installed: `make demo` does")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Image.new("RGB", (40, 40), "red").save("red.png")
    row = {"id": "bell-1", "split": "test", "text_part": "rings slowly", "image": str(models / "red.png")}
    write_jsonl("data/quality/accepted.jsonl", [row])
    port = str(free_port())
    command = [sys.executable, "-m", "stages.commands.main", "demo", "--port", port]
    with serving(command, SERVED + port, models / "demo.log") as process:
        yield process


def make(page):
    page.locator("#generate").click()
    page.locator("#clip-a").get_by_label("Play", exact=True).wait_for()


@pytest.mark.slow
def test_a_prompt_becomes_clips_side_by_side_that_play_until_ctrl_c(served):
    port = served.args[-1]
    with pytest.raises(ValueError, match=f"--port {port}: taken; give another"):
        commands.main(["demo", "--port", port])
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1200})
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(SERVED + port)
        page.get_by_label("Steps").first.wait_for()
        assert "system-ui" in page.locator("h1").evaluate("heading => getComputedStyle(heading).fontFamily")
        page.get_by_label("Steps").first.fill("1")
        page.locator("#generate").click()
        page.get_by_text("text and image are both missing").wait_for()
        page.get_by_label("Text").fill("rings three times")
        make(page)
        boxes: list[Any] = [page.locator(f"#clip-{name}").bounding_box() for name in ("a", "b", "reference")]
        assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]
        assert boxes[0]["y"] == boxes[2]["y"]
        # What is made stands right below its button, not below the examples.
        example: Any = page.get_by_text("rings slowly").bounding_box()
        assert boxes[0]["y"] < example["y"]
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
    served.send_signal(signal.SIGINT)
    assert served.wait(60) == 0
    said = Path("demo.log").read_text()
    assert said.startswith(f"{SERVED}{port}: open it in a browser; Ctrl-C ends it")
    assert "Traceback" not in said


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
