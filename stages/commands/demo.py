"""`bind-an-audio demo`: text and image in a browser, the clips of A, B and the reference side by side.

Served on this machine's loopback address alone; nothing is fetched from or sent to anywhere.
"""

from __future__ import annotations

import argparse
import html
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.corpus.clips import QUALITY, accepted_pairs, spread
from stages.formats.audio import SAMPLE_RATE
from stages.report.pages import plain_markdown

if TYPE_CHECKING:
    from PIL import Image

    from stages.inference.generator import Generator

HOST = "127.0.0.1"
TITLES = {"a": "Experiment A", "b": "Experiment B", "reference": "CLAP reference (text alone)"}
MOST_EXAMPLES = 6
MEL_SCALE = 3  # screen pixels of a mel's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--port", type=int, default=7860, help="of http://127.0.0.1 (default: 7860)")


def main(arguments: argparse.Namespace) -> None:
    """Load the networks of all experiments, serve the page and say where, until Ctrl-C.

    Raises ValueError without Gradio, without trained weights, and where the port is taken.
    """
    # Before Gradio is imported, which otherwise tells its makers of every start.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as gr
    except ImportError:
        raise ValueError("demo: Gradio is not installed; `make demo` installs it and starts this") from None
    from stages.inference.generator import Generator
    from stages.inference.run import Run

    run = Run()
    run.better()
    blocks = build(Generator(run, [*run.trained, "reference"]), examples())
    print(f"http://{HOST}:{arguments.port}: open it in a browser; Ctrl-C ends it", flush=True)
    # The system's fonts: Gradio's own are drawn with letters of two weights in one heading.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        blocks.launch(
            server_name=HOST, server_port=arguments.port, share=False, ssr_mode=False, quiet=True, theme=theme
        )
    except OSError:
        raise ValueError(f"--port {arguments.port}: taken; give another") from None


def examples() -> list[list[Any]]:
    """Texts and image files of test captions; none where the run's data are not here."""
    if not (QUALITY / "accepted.jsonl").is_file():
        return []
    rows = spread([row for row in accepted_pairs("test") if Path(row["image"]).is_file()], MOST_EXAMPLES)
    return [[row["text_part"], row["image"]] for row in rows]


def build(generator: Generator, examples: list[list[Any]]) -> Any:
    """The page: prompt on the left, on the right player and mel picture of each loaded experiment."""
    import gradio as gr

    sample = generator.run.params.sample
    better = generator.run.better()[1]
    outputs: list[Any] = []
    with gr.Blocks(title="Bind-An-Audio", analytics_enabled=False) as blocks:
        gr.Markdown(f"# Bind-An-Audio\nSay what is heard, show what sounds, or both. {better.capitalize()}.")
        with gr.Row():
            with gr.Column():
                text = gr.Textbox(label="Text", placeholder="rings three times, slowly")
                image = gr.ImageEditor(
                    label="Image: upload, webcam or drawing", type="pil", sources=["upload", "webcam", "clipboard"]
                )
            with gr.Column():
                seed = gr.Number(0, label="Seed", precision=0, minimum=0)
                seconds = gr.Slider(1, 32, generator.run.seconds, step=0.01, label="Seconds")
                steps = gr.Slider(1, 100, sample.steps, step=1, label="Steps")
                guidance = gr.Slider(1, 10, sample.guidance_scale, step=0.1, label="Guidance scale")
        button = gr.Button("Generate", variant="primary", elem_id="generate")
        with gr.Row():
            for name in generator.experiments:
                with gr.Column(elem_id=f"clip-{name}"):
                    # Without the button that would send a clip to its makers' server.
                    outputs.append(gr.Audio(label=TITLES[name], interactive=False, buttons=["download"]))
                    outputs.append(gr.Image(label="Mel", interactive=False, buttons=["download"]))
        outputs.append(gr.Markdown(elem_id="doubts"))
        if examples:
            gr.Examples(examples, [text, image], cache_examples=False)

        def make(*values: Any) -> list[Any]:
            try:
                return clips(generator, *values)
            except ValueError as error:
                told = html.escape(str(error).replace("--", ""), quote=False)
                raise gr.Error(told, print_exception=False) from None

        gr.on([button.click, text.submit], make, [text, image, seed, seconds, steps, guidance], outputs)
    return blocks


def clips(
    generator: Generator,
    text: str,
    drawn: dict[str, Any] | None,
    seed: int,
    seconds: float,
    steps: int,
    guidance: float,
) -> list[Any]:
    """Player, mel picture for each experiment, then doubts; None for the reference of an image alone.

    Raises ValueError as `Run.request` does.
    """
    from stages.report.listening_page import mel_picture

    with tempfile.TemporaryDirectory() as folder:
        image = picture(drawn, Path(folder))
        request = generator.run.request(
            text.strip() or None,
            image,
            seconds=None if abs(seconds - generator.run.seconds) < 0.005 else seconds,
            steps=int(steps),
            guidance_scale=guidance,
        )
    shown: list[Any] = []
    doubts = list(request.doubts)
    for name in generator.experiments:
        if name == "reference" and request.text is None:
            shown += [None, None]
            continue
        clip = generator.make(request, int(seed), name)
        mel = mel_picture(clip.waveform).convert("RGB")
        shown.append((SAMPLE_RATE, (clip.waveform * 32767).short().numpy()))
        shown.append(mel.resize((mel.width * MEL_SCALE, mel.height * MEL_SCALE), 0))
        doubts += [f"{TITLES[name]}: {doubt}" for doubt in clip.doubts]
    return [*shown, "\n".join(f"- {plain_markdown(doubt.replace('--', ''))}" for doubt in doubts)]


def picture(drawn: dict[str, Any] | None, folder: Path) -> Path | None:
    """What an image editor holds as a file; None where it is empty."""
    image: Image.Image | None = drawn["composite"] if drawn else None
    if image is None or image.convert("RGBA").getchannel("A").getbbox() is None:
        return None
    path = folder / "image.png"
    image.save(path)
    return path
