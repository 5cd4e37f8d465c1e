"""Compare A and B with their references on the test split, and make the listening page.

Command: `python -m stages.evaluate`
Reads:   data/samples/, data/corpus/, data/images/, data/quality/, data/embeddings/, models/judges/, models/codec/,
         models/encoders/, PANNs' weights where the folder of judges.weights has them, metrics/encoders.json,
         metrics/judges.json, metrics/curves/
Writes:  metrics/evaluation.json, metrics/comparison.json (what `dvc metrics diff` compares: few numbers, flat),
         metrics/systems.tsv (with intervals), metrics/details.tsv (the field's other measures, single attributes,
         sources and held-out pairs), metrics/judge_confusion.tsv (one row a clip: what the judge heard), all three for
         DVC's plots, metrics/plots/*.png, metrics/listening/index.html
Runtime: about 1 minute on 2 cores.

Judges never conditioned a clip. Distances are to the real clips of the training split, for real test clips too: that
row is what a perfect system would score. What cannot be known of a run is left out, and the reason is written down.
"""

from __future__ import annotations

from typing import Any

import torch

from stages.corpus.clips import Row, accepted_clips, foundation_split, read_waveforms, spread
from stages.embedding.embeddings import load_embeddings
from stages.evaluation.adherence import calibrate, uncalibrated
from stages.evaluation.comparison import ONE_SEED, compare, doubts, measured
from stages.evaluation.details import confusion_rows, detail_rows
from stages.evaluation.intervals import Estimate
from stages.evaluation.protocol import protocol_rows
from stages.evaluation.scoring import (
    CLAP,
    ClipScores,
    Scorers,
    SystemClips,
    hear,
    load_scorers,
    read_systems,
    score_clips,
    summarize,
)
from stages.evaluation.systems import METRICS, SYSTEMS, sample_folders
from stages.formats.files import read_json, replacing_folder, write_json, write_tsv
from stages.judging.panns import panns_logits
from stages.params.schema import Params, load_params
from stages.plumbing.cluster import in_batches
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.report.listening_page import credits, write_listening_page
from stages.report.plots import plot_curves, plot_mels, plot_metric, read_curve
from stages.synthesis.codec import load_codec
from stages.synthesis.mel import mel_spectrogram
from stages.towers import imagebind as ib
from stages.towers.store import load_imagebind_audio
from stages.tracking.stage_runs import log_stage
from stages.training.stored import waveform_pieces

BATCH = 32
CODED = 256  # training clips that go through the codec: enough for a covariance, a sixth of a second each


def main() -> None:
    """Score all systems, compare, draw, and write the page."""
    everything = load_params()
    params = everything.evaluate
    torch.use_deterministic_algorithms(True)
    train = accepted_clips("train")
    train_waveforms = read_waveforms(train)
    scorers = load_scorers(calibrate(train, train_waveforms))
    systems = read_systems(sample_folders())
    scores = {name: score_clips(clips, scorers) for name, clips in progress(systems.items(), "scoring")}
    real = hear(train_waveforms, scorers)
    summaries: dict[str, dict[str, Estimate]] = {}
    missing = uncalibrated(systems["real"].rows, scorers.thresholds)
    for name, one in progress(scores.items(), "intervals"):
        summaries[name], left_out = summarize(one, real.main, params.bootstrap, params.seed)
        missing += left_out
    curves = {f"experiment_{name}": read_curve(f"metrics/curves/train_{name}.tsv") for name in ("a", "b")}
    reasons = doubts(summaries, read_json("metrics/encoders.json"), len(systems["real"].rows))
    reasons += dict.fromkeys(missing)
    comparison = {
        "conclusive": not reasons,
        "doubts": reasons,
        "limits": [ONE_SEED],
        "captions": len(systems["real"].rows),
        "takes": max(systems["experiment_b"].takes) + 1,
        "training_clips": len(train),
        "embedding_dimensions": real.main.shape[1],
        **compare(scores, curves, draws=params.bootstrap, seed=params.seed),
    }
    metrics = {
        name: {key: round(summary[key].value, 4) for key in METRICS if key in summary}
        for name, summary in summaries.items()
    }
    learned = torch.cat([real.spaces[CLAP], *foundation_embeddings(scorers)])
    tags = panns_logits(everything.judges.weights, {name: clips.waveforms for name, clips in systems.items()})
    protocol = protocol_rows(scores, (train, real), hear(coded_clips(), scorers), learned, image_scores(systems), tags)
    write_json("metrics/evaluation.json", metrics)
    write_json("metrics/comparison.json", comparison)
    rows = interval_rows(summaries)
    write_tsv("metrics/systems.tsv", rows)
    write_tsv("metrics/details.tsv", protocol + detail_rows(scores), header=["detail", "system", "value"])
    heard = confusion_rows(scores["real"], scorers.sources)
    write_tsv("metrics/judge_confusion.tsv", heard, header=["actual", "predicted"])
    draw(rows, curves, systems)
    write_page(everything, systems, scores, metrics, comparison)
    log_stage("evaluate", {**metrics, "comparison": comparison}, {})


@torch.no_grad()
def coded_clips() -> torch.Tensor:
    """At most `CODED` training clips `[N, samples]` after the codec's round trip, evenly over the split."""
    latents = load_embeddings("train").latents
    codec = load_codec().to(device())
    batches = list(in_batches(spread(range(len(latents)), CODED), BATCH))
    clips = [codec.decode(latents[batch]) for batch in progress(batches, "coded training clips")]
    return torch.cat(clips).clamp(-1, 1)


@torch.no_grad()
def foundation_embeddings(scorers: Scorers) -> list[torch.Tensor]:
    """CLAP's embeddings `[B, D]` of the clips beside `train` that networks learned from, batch after batch."""
    if (split := foundation_split()) == "train":
        return []
    pieces = progress(waveform_pieces(accepted_clips(split)), "training clips to compare with")
    return [scorers.clap.for_distances(scorers.clap.embed_audio(piece)) for piece in pieces]


@torch.no_grad()
def image_scores(systems: dict[str, SystemClips]) -> dict[str, torch.Tensor]:
    """Cosines `[N]` of a system's clips and their captions' images under ImageBind, by system."""
    test = load_embeddings("test")
    images = dict(zip(test.ids, test.image, strict=True))
    tower = load_imagebind_audio().to(device())
    scores = {}
    for name, system in progress(systems.items(), "images and clips"):
        heard = [ib.embed_waveforms(tower, part) for part in system.waveforms.split(BATCH)]
        scores[name] = (torch.cat(heard).cpu() * torch.stack([images[row["id"]] for row in system.rows])).sum(dim=1)
    return scores


def interval_rows(summaries: dict[str, dict[str, Estimate]]) -> list[dict[str, Any]]:
    """The long table of results: `metric`, `system`, `value`, `low`, `high`, the last two empty without interval."""
    return [
        {"metric": metric, "system": system} | {k: "" if v is None else v for k, v in summary[metric]._asdict().items()}
        for metric in METRICS
        for system, summary in summaries.items()
        if metric in summary
    ]


def draw(table: list[dict[str, Any]], curves: dict[str, Any], systems: dict[str, SystemClips]) -> None:
    """One bar chart a metric, the loss curves, and a grid of mels."""
    with replacing_folder("metrics/plots") as folder:
        for metric in dict.fromkeys(row["metric"] for row in table):
            plot_metric(metric, table, folder / f"{metric}.png")
        plot_curves(curves, folder / "curves.png")
        rows = spread(systems["real"].rows, 6)
        mels = {
            name: list(mel_spectrogram(systems[name].waveforms[first_takes(systems[name], rows)]).numpy())
            for name in SYSTEMS
        }
        plot_mels(mels, [row["caption"] for row in rows], folder / "mels.png")


def write_page(
    params: Params,
    systems: dict[str, SystemClips],
    scores: dict[str, ClipScores],
    metrics: dict[str, Any],
    comparison: dict[str, Any],
) -> None:
    """The listening page of evenly chosen test captions, first takes."""
    rows = spread(systems["real"].rows, params.evaluate.listening_captions)
    takes = {name: first_takes(systems[name], rows) for name in SYSTEMS}
    shown = [
        {
            **row,
            "group": caption_group(row),
            "clips": {name: systems[name].waveforms[indices[place]].numpy() for name, indices in takes.items()},
            "scores": {name: scores[name].values["clap_score"][indices[place]] for name, indices in takes.items()},
        }
        for place, row in enumerate(rows)
    ]
    notes = [measured(comparison, params), *comparison["limits"]]
    notes.append("Every system starts a take from the same noise; shown is the first take of each.")
    accuracy = read_json("metrics/judges.json").get("source_accuracy")
    if accuracy is not None:
        notes.append(f"The judge names the source of {100 * accuracy:.0f} % of the real test clips.")
    with replacing_folder("metrics/listening") as folder:
        write_listening_page(
            folder / "index.html",
            title="Bind-An-Audio: listening page",
            rows=shown,
            systems=list(SYSTEMS),
            summary=metrics,
            doubts=comparison["doubts"],
            notes=[*notes, credits(params.prepare.corpus, params.images)],
        )


def first_takes(system: SystemClips, rows: list[Row]) -> list[int]:
    """Where among a system's clips the first take of each row is."""
    places = {row["id"]: index for index, row in enumerate(system.rows) if system.takes[index] == 0}
    return [places[row["id"]] for row in rows]


def caption_group(row: Row) -> str:
    """What kind of caption a test row has, for the listening page's filter."""
    if row["held_out_pair"]:
        return "a pair of sources new to training"
    return "a pair of sources" if row["composition"] else "one source"


if __name__ == "__main__":
    run(main)
