"""The systems that are compared and the metrics that compare them, each listed once, in the order of every table.

`METRICS` are the few that every table has; `MORE_METRICS` stand in metrics/details.tsv alone, with what they mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

SAMPLES = Path("data/samples")
UNGUIDED = "_guidance_1"  # ends the name of a system's clips at guidance 1


class System(NamedTuple):
    """What a clip can come from.

    colour: in plots, of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers can tell apart.
    group: folder below data/samples/ that holds its clips; empty for the clips of the corpus.
    """

    name: str
    colour: str
    group: str
    meaning: str


class Metric(NamedTuple):
    """What a system is measured by.

    better: "lower" or "higher".
    shown: how a value is printed, by Python's format; a share between 0 and 1 in per cent.
    """

    name: str
    better: str
    shown: str
    meaning: str

    @property
    def headline(self) -> bool:
        """Whether it asks if a clip fits its own caption: by distances, clips of no caption can score as well."""
        return self.better == "higher"


SYSTEMS = {
    "real": System("Real audio", "#7f7f7f", "", "The clip of the corpus itself: what the caption describes."),
    "codec": System(
        "Codec round trip",
        "#56b4e9",
        "references",
        "The real clip through mel, VAE and BigVGAN and back: no generated clip can sound better than this.",
    ),
    "reference": System(
        "CLAP reference",
        "#0072b2",
        "references",
        "Make-An-Audio's U-Net steered by CLAP's features of the full caption: what A and B are measured against.",
    ),
    "experiment_a": System(
        "Experiment A",
        "#e69f00",
        "a",
        "Direct replacement: the fused ImageBind embedding, projected, stands in CLAP's place.",
    ),
    "experiment_b": System(
        "Experiment B",
        "#009e73",
        "b",
        "Alignment: the fused ImageBind embedding becomes a token sequence trained to match CLAP's features.",
    ),
    "floor": System(
        "Unconditioned",
        "#cc79a7",
        "references",
        "The same U-Net with an empty caption: what comes out when nothing steers.",
    ),
}
ALSO_UNGUIDED = ("reference", "experiment_a", "experiment_b")

METRICS = {
    "fad": Metric(
        "FAD",
        "lower",
        ".2f",
        "Frechet audio distance: how far the embeddings of a system's clips lie from those of real audio, by mean and "
        "covariance.",
    ),
    "kad": Metric(
        "KAD",
        "lower",
        ".3f",
        "Kernel audio distance: the same question asked with an unbiased kernel estimate, which needs fewer clips.",
    ),
    "clap_score": Metric(
        "CLAP score",
        "higher",
        ".3f",
        "Cosine similarity of clip and caption under a second CLAP that steered no system.",
    ),
    "source_accuracy": Metric(
        "Source accuracy",
        "higher",
        ".1%",
        "How often a classifier that steered no system hears the source that the caption names.",
    ),
    "attribute_adherence": Metric(
        "Attributes",
        "higher",
        ".1%",
        "How often attributes that the caption states (pace, count, loudness, order ...) are measured in the signal.",
    ),
    "seen": Metric(
        "Seen",
        "higher",
        ".1%",
        "Of that, what an image can tell: the source and the seen attributes (size ...).",
    ),
    "heard": Metric(
        "Heard",
        "higher",
        ".1%",
        "Of that, what words alone can tell: the attributes that no image shows (pace, count, loudness ...).",
    ),
}

# Which of two systems is better should not hang on one judge: the field's other measures, in metrics/details.tsv.
MORE_METRICS = {
    "fad_clap": "FAD on the embeddings of the CLAP that scores",
    "kad_clap": "KAD on them",
    "fad_coded": "FAD to training clips that went through the codec, so that its own error counts for nothing",
    "kad_coded": "KAD to them",
    "fad_clap_coded": "FAD to them on CLAP's embeddings",
    "kad_clap_coded": "KAD to them on CLAP's embeddings",
    "classifier_kl": "KL divergence of the source classifier's probabilities, real clip of the caption from the clip",
    "classifier_inception_score": "inception score by the source classifier's probabilities",
    "panns_kl": "KL divergence by PANNs CNN14, as audioldm_eval has it",
    "panns_inception_score": "inception score by PANNs CNN14, as audioldm_eval has it",
    "imagebind_score": "cosine of image and clip under ImageBind; it steered A and B and is no independent judge",
    "take_distance": "mean distance between takes of a caption in CLAP's space; of real: between training clips that "
    "share all attributes",
    "near_training": "share of clips nearer to a training clip than 95 % of the real test clips are, in CLAP's space",
}


def sample_folders() -> dict[str, Path]:
    """Where the clips of each system lie; those at guidance 1 come last."""
    guided = {key: SAMPLES / system.group / key for key, system in SYSTEMS.items() if system.group}
    return guided | {key + UNGUIDED: guided[key].with_name(key + UNGUIDED) for key in ALSO_UNGUIDED}


def system_name(key: str) -> str:
    """The name of a system, also of one at guidance 1."""
    name = SYSTEMS[key.removesuffix(UNGUIDED)].name
    return f"{name}, guidance 1" if key.endswith(UNGUIDED) else name
