"""`bind-an-audio cards`: model card and dataset card of the run, as the Hugging Face Hub reads them.

Everything in them is taken from params.yaml, metrics and the data's own lists; nothing is written by hand.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from stages.corpus.clips import CORPUS, IMAGES, QUALITY
from stages.evaluation.systems import METRICS, SYSTEMS
from stages.formats.files import iterate_jsonl, read_json, write_text
from stages.params.schema import Params, load_params
from stages.report.listening_page import CORPORA, credits
from stages.report.pages import markdown_table, page, plain_markdown

METRICS_FOLDER = Path("metrics")
SHOWN = ("id", "split", "caption", "visual_part", "text_part", "image")
COMPONENTS = {
    "ImageBind and CLAP": "encoders",
    "VAE and BigVGAN": "codec",
    "U-Net": "backbone",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the cards go."""
    parser.add_argument("--out", type=Path, default=Path("docs/cards"), help="folder (default: docs/cards)")


def main(arguments: argparse.Namespace) -> None:
    """Write `model.md` and `dataset.md`. Raises FileNotFoundError where a stage has not run yet."""
    params = load_params()
    for name, text in (("model", model_card(params)), ("dataset", dataset_card(params))):
        write_text(arguments.out / f"{name}.md", text)
        print(arguments.out / f"{name}.md")


def model_card(params: Params) -> str:
    """The card of what `models/` holds, A's and B's results as the Hub's evaluation results."""
    from huggingface_hub import EvalResult, ModelCardData

    found = read_json(METRICS_FOLDER / "evaluation.json")
    comparison = read_json(METRICS_FOLDER / "comparison.json")
    backbone = read_json(METRICS_FOLDER / "backbone.json")
    corpus = CORPORA.get(params.prepare.corpus, params.prepare.corpus)
    trained = params.backbone.source == "trained"
    results = [
        EvalResult(
            task_type="text-to-audio",
            dataset_type=params.prepare.corpus,
            dataset_name=corpus,
            dataset_split="test",
            metric_type=metric,
            metric_name=f"{METRICS[metric].name}, {SYSTEMS[system].name}",
            metric_value=found[system][metric],
        )
        for system in ("experiment_a", "experiment_b")
        for metric in METRICS
        if metric in found.get(system, {})
    ]
    free = trained and params.encoders.source == "trained"
    data = ModelCardData(
        model_name="Bind-An-Audio",
        language="en",
        license="apache-2.0" if free else "cc-by-nc-sa-4.0",
        pipeline_tag="text-to-audio",
        tags=["audio-generation", "imagebind", "latent-diffusion", "dvc"],
        metrics=list(dict.fromkeys(result.metric_type for result in results)),
        eval_results=results,
    )
    sections, pairs = params.model_dump(), split_counts()[1]
    return page(
        "model_card.md",
        data=data.to_yaml(),
        name="Bind-An-Audio",
        seconds=params.prepare.clip_seconds,
        parts=[(name, f"models/{folder}", sections[folder]["source"]) for name, folder in COMPONENTS.items()],
        table=results_table(found),
        corpus=corpus,
        clips=params.sample.clips_per_caption * (params.sample.captions or pairs["test"]),
        splits=", ".join(f"{count:,} {split}" for split, count in pairs.items()),
        guidance_scale=f"{params.sample.guidance_scale:g}",
        steps=params.sample.steps,
        verdict="The run can tell A from B."
        if comparison["conclusive"]
        else f"Nothing about A against B follows: {'; '.join(comparison['doubts'])}.",
        trained=trained,
        parameters=f"{backbone['parameters']:,}" if "parameters" in backbone else "",
        sources=known_sources(),
        credits=credits(params.prepare.corpus, params.images),
    )


def dataset_card(params: Params) -> str:
    """The card of `data/corpus`, `data/images` and the accepted pairs."""
    from huggingface_hub import DatasetCardData

    clips, pairs = split_counts()
    procedural = params.prepare.corpus == "soundworld"
    quality = read_json(METRICS_FOLDER / "quality.json")
    data = DatasetCardData(
        pretty_name=f"Bind-An-Audio: {params.prepare.corpus}",
        language="en",
        license=["apache-2.0", "cc-by-sa-4.0"] if procedural and params.images.backend == "pictograms" else "other",
        task_categories=["text-to-audio"],
        size_categories=size_category(sum(clips.values())),
        tags=["audio", "image", "captions"],
    )
    return page(
        "dataset_card.md",
        data=data.to_yaml(),
        name=f"Bind-An-Audio: {params.prepare.corpus}",
        seconds=params.prepare.clip_seconds,
        corpus=CORPORA.get(params.prepare.corpus, params.prepare.corpus),
        clips=loaded("audiofolder", CORPUS),
        images=loaded("imagefolder", IMAGES),
        splits=[(split, count, pairs[split]) for split, count in clips.items()],
        example={
            key: plain_markdown(value)
            for key, value in next(iterate_jsonl(QUALITY / "accepted.jsonl")).items()
            if key in SHOWN
        },
        rejected=quality["rejected"],
        pairs=quality["pairs"],
        min_words=params.quality.min_words,
        max_words=params.quality.max_words,
        procedural=procedural,
        sources=known_sources(),
        credits=credits(params.prepare.corpus, params.images),
    )


def loaded(kind: str, folder: Path) -> str:
    """What `datasets.load_dataset` is given for a folder of files, or of tar shards."""
    sharded = any(folder.glob("*.tar"))
    return f'"webdataset", data_files="{folder}/*.tar"' if sharded else f'"{kind}", data_dir="{folder}"'


def results_table(found: dict[str, dict[str, float]]) -> str:
    """Markdown of all systems at their own guidance."""
    columns = [key for key in METRICS if any(key in found.get(system, {}) for system in SYSTEMS)]
    arrows = {"lower": "↓", "higher": "↑"}
    rows = [
        [one.name, *(f"{found[system][key]:.2f}" if key in found[system] else "–" for key in columns)]
        for system, one in SYSTEMS.items()
    ]
    return markdown_table(["system", *(f"{METRICS[key].name} {arrows[METRICS[key].better]}" for key in columns)], rows)


def split_counts() -> tuple[Counter[str], Counter[str]]:
    """Clips of the corpus and accepted pairs, by split."""
    return (
        Counter(row["split"] for row in iterate_jsonl(CORPUS / "metadata.jsonl")),
        Counter(row["split"] for row in iterate_jsonl(QUALITY / "accepted.jsonl")),
    )


def known_sources() -> str:
    """What the corpus's captions name, in words; empty where its rows name no sources."""
    found = {source for row in iterate_jsonl(CORPUS / "metadata.jsonl") for source in row["sources"]}
    return plain_markdown(", ".join(sorted(found)))


def size_category(count: int) -> str:
    """The Hub's word for how many rows a dataset has."""
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for bound, name in bounds if count < bound), "n>1M")
