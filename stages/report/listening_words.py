"""What the listening page says of systems and metrics: one sentence each."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One column of the page's table."""

    key: str
    name: str
    better: str
    is_share: bool
    decimals: int
    meaning: str


LEAD = (
    "Every test caption below was split into what is seen and what is heard. An image was drawn from the first; "
    "ImageBind read the image together with the second. Each system then made a clip, to be compared by ear and eye."
)

HELP = (
    "Press a picture to hear it; starting one clip stops the others. Pictures are mel spectrograms: time runs to the "
    "right, frequency from 0 to 8&nbsp;kHz upwards on the mel scale, brighter is louder, all on one scale. "
    "Keys: <kbd>Space</kbd> plays and stops, <kbd>←</kbd>&nbsp;<kbd>→</kbd> change the system, "
    "<kbd>↑</kbd>&nbsp;<kbd>↓</kbd> the caption, <kbd>Esc</kbd> stops."
)

SYSTEMS = {
    "real": ("Real audio", "The clip of the corpus itself: what the caption describes."),
    "codec": (
        "Codec round trip",
        "The real clip through mel, VAE and BigVGAN and back: no generated clip can sound better than this.",
    ),
    "reference": (
        "CLAP reference",
        "Make-An-Audio's U-Net steered by CLAP's features of the full caption: what A and B are measured against.",
    ),
    "experiment_a": (
        "Experiment A",
        "Direct replacement: the fused ImageBind embedding, projected, stands in CLAP's place.",
    ),
    "experiment_b": (
        "Experiment B",
        "Alignment: the fused ImageBind embedding becomes a token sequence trained to match CLAP's features.",
    ),
    "floor": ("Unconditioned", "The same U-Net with an empty caption: what comes out when nothing steers."),
}

METRICS = (
    Metric(
        "fad",
        "FAD",
        "lower is better",
        False,
        2,
        "Frechet audio distance: how far the embeddings of a system's clips lie from those of real audio, by mean and "
        "covariance.",
    ),
    Metric(
        "kad",
        "KAD",
        "lower is better",
        False,
        3,
        "Kernel audio distance: the same question asked with an unbiased kernel estimate, which needs fewer clips.",
    ),
    Metric(
        "clap_score",
        "CLAP score",
        "higher is better",
        False,
        3,
        "Cosine similarity of clip and caption under a second CLAP that steered no system.",
    ),
    Metric(
        "source_accuracy",
        "Source accuracy",
        "higher is better",
        True,
        1,
        "How often a classifier that steered no system hears the source that the caption names.",
    ),
    Metric(
        "attribute_adherence",
        "Attributes",
        "higher is better",
        True,
        1,
        "How often attributes that the caption states (pace, count, loudness, order ...) are measured in the signal.",
    ),
)
