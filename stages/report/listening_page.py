"""The listening page: one HTML file that holds everything it shows and asks nothing of the network.

Images, mel pictures and audio stand in it as data URIs. Clips are FLAC: lossless, since differences between systems
can be slight, and of equal bytes for equal samples (libsndfile's Ogg streams carry random serial numbers).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.corpus.clips import Row
from stages.evaluation.systems import METRICS, SYSTEMS, Metric, system_name
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import write_text
from stages.formats.images import open_image
from stages.params.data import Images
from stages.report.pages import data_uri, image_uri, page, verbatim
from stages.synthesis.mel import mel_spectrogram

Waveform = NDArray[np.float32]  # within +-1, [samples]

IMAGE_PIXELS = 272  # twice the width at which a page shows an image
MEL_FLOOR, MEL_CEILING = -4.5, 0.5  # log10 magnitudes that are drawn black and brightest, in all pictures alike
RATINGS = ("good", "usable", "unusable")

CORPORA = {
    "soundworld": "soundworld, made by this pipeline",
    "esc10": "ESC-10 (Piczak 2015, CC BY 3.0)",
    "esc50": "ESC-50 (Piczak 2015, CC BY-NC 3.0)",
    "audiofolder": "an audiofolder of one's own",
    "audiocaps": "AudioCaps (Kim et al. 2019)",
    "clotho": "Clotho (Drossos et al. 2020)",
    "wavcaps": "WavCaps (Mei et al. 2023)",
}


def write_listening_page(
    path: Path,
    *,
    title: str,
    rows: Sequence[Row],
    systems: Sequence[str],
    summary: Mapping[str, Mapping[str, float]],
    doubts: Sequence[str],
    notes: Sequence[str],
) -> None:
    """Write the page in one step; `rows` and, from left to right, `systems` are shown in the order that they have.

    `rows` are those of accepted pairs, each with what was made of it: `clips`, waveforms `[samples]` by system, some of
    them missing; `scores`, CLAP scores by system, for the gap of B and A; `group`, which a filter asks for.
    `summary` is system -> metric -> value, as in metrics/evaluation.json; what `METRICS` does not know is left out.
    `doubts`, why nothing about A against B follows, stand above the results, the paragraphs of `notes` at the foot.
    """
    shown = [key for key in METRICS if any(key in values for values in summary.values())]
    text = page(
        "listening_page.html",
        title=title,
        style=verbatim("listening_page.css"),
        script=verbatim("listening_page.js"),
        metrics=[METRICS[key] for key in shown],
        table=[
            (system, [_figure(METRICS[key], summary[system].get(key)) for key in shown])
            for system in systems
            if system in summary
        ],
        meanings=[SYSTEMS[system] for system in systems if system in SYSTEMS] + [METRICS[key] for key in shown],
        rows=rows,
        sources=sorted({source for row in rows for source in row["sources"]}),
        groups=sorted({row["group"] for row in rows}),
        ratings=RATINGS,
        systems=systems,
        doubts=doubts,
        notes=notes,
        sample_rate=SAMPLE_RATE,
        name=system_name,
        gap=_gap,
        image=_image,
        mel=_mel,
        audio=_audio,
    )
    write_text(path, text)


def credits(corpus: str, images: Images) -> str:
    """Whose images and sounds are shown: a name of `prepare.corpus`, the section `images`."""
    source = CORPORA.get(corpus, corpus)
    drawn = {
        "pictograms": "drawn from OpenMoji pictograms (CC BY-SA 4.0)",
        "flux": f"painted by {images.flux.model}",
        "corpus": f"those of {source}",
    }
    return f"Images are {drawn[images.backend]}. Real audio: {source}."


def mel_picture(waveform: torch.Tensor) -> Image.Image:
    """The mel of a waveform `[samples]` as a palette image, time to the right, low bands below, louder is brighter."""
    from matplotlib import colormaps

    mel = mel_spectrogram(waveform[None])[0].numpy()
    level = np.clip((mel - MEL_FLOOR) / (MEL_CEILING - MEL_FLOOR), 0, 1)
    image = Image.fromarray(np.rint(np.nan_to_num(level)[::-1] * 255).astype(np.uint8), "P")
    # Equal steps of level look equally large in "magma".
    image.putpalette(colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    return image


def _figure(metric: Metric, value: float | None) -> str | None:
    if value is None:
        return None
    return format(value, metric.shown).replace("%", "\N{NO-BREAK SPACE}%")


def _gap(row: Row) -> float | None:
    """B's CLAP score less A's; None where one of them was not scored."""
    scores: dict[str, float] = row["scores"]
    if {"experiment_a", "experiment_b"} <= scores.keys():
        return round(scores["experiment_b"] - scores["experiment_a"], 3)
    return None


def _image(row: Row) -> str:
    small = open_image(row["image"])
    small.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS), Image.Resampling.LANCZOS)
    return image_uri(small, "WEBP", quality=82, method=4)


def _mel(waveform: Waveform) -> str:
    return image_uri(mel_picture(torch.from_numpy(waveform)), "PNG", optimize=True)


def _audio(waveform: Waveform) -> str:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return data_uri("audio/flac", buffer.getvalue())
