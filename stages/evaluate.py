"""Compare A and B with their references on the test split, and make the listening page.

Command: `python -m stages.evaluate`
Reads:   data/samples/, data/corpus/, data/images/, data/quality/, models/judges/, metrics/encoders.json,
         metrics/judges.json, metrics/curves/
Writes:  metrics/evaluation.json, metrics/comparison.json (what `dvc metrics diff` compares: few numbers, flat),
         metrics/systems.tsv (with intervals), metrics/details.tsv (single attributes, sources and held-out pairs),
         metrics/judge_confusion.tsv (one row a clip: what the judge heard), all three for DVC's plots,
         metrics/plots/*.png, metrics/listening/index.html
Runtime: about 1 minute on 2 cores.

Judges never conditioned a clip. Distances are to the real clips of the training split, for real test clips too: that
row is what a perfect system would score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stages.corpus.clips import CORPUS, Row, accepted_clips, read_waveforms, spread
from stages.evaluation.adherence import calibrate
from stages.evaluation.comparison import compare
from stages.evaluation.details import confusion_rows, detail_rows
from stages.evaluation.intervals import Interval
from stages.evaluation.scoring import (
    ClipScores,
    Judges,
    SystemClips,
    read_system,
    score_clips,
    summarize,
)
from stages.formats.files import read_json, replacing_folder, write_json, write_tsv
from stages.judging.clap_scorer import load_scorer
from stages.judging.networks import load_classifier
from stages.params.experiments import Evaluate
from stages.params.schema import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.report.listening_page import Clip, ListeningRow, write_listening_page
from stages.report.plots import plot_curves, plot_mels, plot_metric, read_curve
from stages.synthesis.mel import mel_spectrogram
from stages.tracking.stage_runs import log_stage

SAMPLES = Path("data/samples")
FOLDERS = {
    "codec": "references/codec",
    "reference": "references/reference",
    "experiment_a": "a/experiment_a",
    "experiment_b": "b/experiment_b",
    "floor": "references/floor",
    "reference_guidance_1": "references/reference_guidance_1",
    "experiment_a_guidance_1": "a/experiment_a_guidance_1",
    "experiment_b_guidance_1": "b/experiment_b_guidance_1",
}
SHOWN = ("real", "codec", "reference", "experiment_a", "experiment_b", "floor")
METRICS = ("fad", "kad", "clap_score", "source_accuracy", "attribute_adherence")


def main() -> None:
    """Score all systems, compare, draw, and write the page."""
    params = load_params().evaluate
    torch.use_deterministic_algorithms(True)
    train = accepted_clips("train")
    train_waveforms = read_waveforms(train)
    judges = load_judges(train, train_waveforms)
    systems = read_systems()
    scores: dict[str, ClipScores] = {}
    for name, clips in progress(systems.items(), "scoring"):
        scores[name] = score_clips(clips, judges)
    real = score_clips(SystemClips(train, [0] * len(train), train_waveforms), judges).embeddings
    summaries = {
        name: summarize(one, real, params.bootstrap, params.seed) for name, one in progress(scores.items(), "intervals")
    }
    curves = {f"experiment_{name}": read_curve(f"metrics/curves/train_{name}.tsv") for name in ("a", "b")}
    conclusive = read_json("metrics/encoders.json").get("conclusive")
    comparison = compare(scores, curves, conclusive, draws=params.bootstrap, seed=params.seed)
    metrics = {name: rounded(summary) for name, summary in summaries.items()}
    write_json("metrics/evaluation.json", metrics)
    write_json("metrics/comparison.json", comparison)
    rows = interval_rows(summaries)
    write_tsv("metrics/systems.tsv", rows)
    write_tsv("metrics/details.tsv", detail_rows(scores), header=["detail", "system", "value"])
    write_tsv("metrics/judge_confusion.tsv", confusion_rows(systems["real"], judges), header=["actual", "predicted"])
    draw(rows, curves, systems)
    write_page(params, systems, metrics, conclusive)
    log_stage("evaluate", params, {**metrics, "comparison": comparison}, {})


def load_judges(train: list[Row], waveforms: torch.Tensor) -> Judges:
    """The judges' weights, and the thresholds of attribute adherence from the real training clips."""
    classifier, sources = load_classifier() or (None, [])
    clips = [(row, waveform.double().numpy()) for row, waveform in zip(train, waveforms, strict=True)]
    return Judges(load_scorer(), classifier, sources, calibrate(clips))


def read_systems() -> dict[str, SystemClips]:
    """All systems' clips; `real` holds the real clips of the captions that were sampled."""
    by_id = {row["id"]: row for row in accepted_clips("test")}
    generated = {name: read_system(SAMPLES / folder, by_id) for name, folder in FOLDERS.items()}
    rows = generated["codec"].rows
    return {"real": SystemClips(rows, [0] * len(rows), read_waveforms(rows)), **generated}


def rounded(summary: dict[str, Interval]) -> dict[str, float]:
    """A system's object in `metrics/evaluation.json`: one number a metric."""
    return {name: round(summary[name][0], 4) for name in METRICS if name in summary}


def interval_rows(summaries: dict[str, dict[str, Interval]]) -> list[dict[str, Any]]:
    """The long table of results: `metric`, `system`, `value`, `low`, `high`."""
    return [
        {"metric": metric, "system": system, "value": value, "low": low, "high": high}
        for metric in METRICS
        for system, summary in summaries.items()
        if metric in summary
        for value, low, high in [summary[metric]]
    ]


def draw(table: list[dict[str, Any]], curves: dict[str, Any], systems: dict[str, SystemClips]) -> None:
    """One bar chart a metric, the loss curves, and a grid of mels."""
    with replacing_folder("metrics/plots") as folder:
        for metric in dict.fromkeys(row["metric"] for row in table):
            plot_metric(metric, table, folder / f"{metric}.png")
        plot_curves(curves, folder / "curves.png")
        rows = spread(systems["real"].rows, 6)
        mels = {
            name: [mel.numpy() for mel in mel_spectrogram(first_takes(systems[name], [row["id"] for row in rows]))]
            for name in SHOWN
        }
        plot_mels(mels, [row["caption"] for row in rows], folder / "mels.png")


def write_page(
    params: Evaluate, systems: dict[str, SystemClips], metrics: dict[str, Any], conclusive: bool | None
) -> None:
    """The listening page of evenly chosen test captions, first takes."""
    rows = spread(systems["real"].rows, params.listening_captions)
    ids = [row["id"] for row in rows]
    clips: dict[str, list[Clip]] = {}
    for name in SHOWN:
        waveforms = first_takes(systems[name], ids)
        mels = mel_spectrogram(waveforms)
        clips[name] = [Clip(wave.numpy(), mel.numpy()) for wave, mel in zip(waveforms, mels, strict=True)]
    shown = [
        ListeningRow(
            id=row["id"],
            caption=row["caption"],
            visual_part=row["visual_part"],
            text_part=row["text_part"],
            image=Path(row["image"]),
            clips={name: clips[name][place] for name in SHOWN},
        )
        for place, row in enumerate(rows)
    ]
    accuracy = read_json("metrics/judges.json").get("source_accuracy")
    notes = ["Every system starts a take from the same noise; shown is the first take of each."]
    if accuracy is not None:
        notes.append(f"The judge names the source of {100 * accuracy:.0f} % of the real test clips.")
    if conclusive is False:
        notes.append("Inconclusive: ImageBind's text embedding holds too little of what is heard to compare A and B.")
    with replacing_folder("metrics/listening") as folder:
        write_listening_page(
            folder / "index.html",
            title="Bind-An-Audio: listening page",
            rows=shown,
            systems=SHOWN,
            summary=metrics,
            notes=[*notes, f"Images are drawn from OpenMoji pictograms (CC BY-SA 4.0). Clips: {CORPUS}."],
            sample_rate=16_000,
        )


def first_takes(system: SystemClips, ids: list[str]) -> torch.Tensor:
    """Waveforms `[len(ids), samples]` of take 0."""
    places = {row["id"]: place for place, row in enumerate(system.rows) if system.takes[place] == 0}
    return system.waveforms[[places[name] for name in ids]]


if __name__ == "__main__":
    run(main)
