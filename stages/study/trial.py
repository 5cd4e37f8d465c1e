"""One arm with one seed: trained, its test clips made once and scored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.corpus.clips import accepted_clips, spread
from stages.embedding.embeddings import Embeddings, load_embeddings
from stages.evaluation.scoring import ClipScores, Scorers, SystemClips, known_mean, score_clips
from stages.experiments.experiment_a import ExperimentA
from stages.experiments.experiment_b import ExperimentB
from stages.experiments.sampling import BATCH, SampleSet, make_clips
from stages.experiments.training import Contexts, train_by_denoising
from stages.experiments.training_a import stage_recipe, train_experiment_a
from stages.experiments.training_b import train_experiment_b
from stages.params.schema import Params
from stages.plumbing.cluster import in_batches
from stages.plumbing.device import device
from stages.study.arms import OWN, Arm, Swap
from stages.synthesis.codec import load_codec
from stages.synthesis.unet import Denoiser, load_denoiser
from stages.training.determinism import be_deterministic, derive_seed


def run_arm(arm: Arm, params: Params, scorers: Scorers, work: Path) -> dict[str, Any]:
    """Train and score an arm; the result is JSON-able: `training`, `curve`, and `clips` of `OWN` and of each swap."""
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    contexts, denoiser, trained = train_arm(arm, params, data, valid, work)
    test = load_embeddings("test")
    clips = {OWN: caption_scores(sample_arm(contexts, denoiser, test, params, scorers))}
    for swap in arm.swaps:
        clips[f"other_{swap}"] = caption_scores(sample_arm(contexts, denoiser, swapped(test, swap), params, scorers))
    return {**trained, "clips": clips}


def train_arm(
    arm: Arm, params: Params, data: Embeddings, valid: Embeddings, work: Path
) -> tuple[Contexts, Denoiser, dict[str, Any]]:
    """What gives rows their contexts, the U-Net that reads them, and the training's metrics and curve."""
    denoiser = load_denoiser().to(device())
    training: dict[str, Any] = {}
    curve: list[dict[str, Any]] = []
    network: ExperimentA | ExperimentB | None = None
    be_deterministic(params.train_a.seed)
    if arm.experiment == "a":
        trained = train_experiment_a(params.train_a, data, valid, denoiser, work)
        network = ExperimentA(trained.config, denoiser)
    elif arm.experiment == "b":
        trained = train_experiment_b(params.train_b, data, valid, denoiser, work, diffusion_curve=False)
        network = ExperimentB(trained.config, data.clap_tokens.mean(dim=0))
    if network is not None:
        network.load_state_dict(trained.best)
        network.to(device()).eval()
        training, curve = trained.metrics, trained.curve

    def contexts(rows: Embeddings) -> Tensor:
        if isinstance(network, ExperimentB):
            seeds = [derive_seed(params.sample.seed, item, 0) for item in rows.ids]  # as `sample_b` seeds a first take
            return network.context(rows.text, rows.image, seeds)
        return rows.clap_tokens if network is None else network.context(rows.text, rows.image)

    if arm.unet_updates:
        if network is not None:
            network.requires_grad_(False)
        training |= train_unet(denoiser.requires_grad_(True), contexts, params, data, valid, work)
    return contexts, denoiser, {"training": training, "curve": curve}


def train_unet(
    denoiser: Denoiser, contexts: Contexts, params: Params, data: Embeddings, valid: Embeddings, work: Path
) -> dict[str, float]:
    """Train the U-Net alone as A's second stage does, under contexts that stay as they are; keep its best weights."""
    recipe = stage_recipe(2, "study_unet", params.train_a, len(data.ids))
    trained, _ = train_by_denoising(denoiser, denoiser, contexts, data, valid, recipe, work)
    denoiser.load_state_dict(trained.best)
    losses = [row["validation_diffusion_loss"] for row in trained.curve]
    return {"unet_best_validation_diffusion_loss": round(min(losses), 4)}


@torch.no_grad()
def sample_arm(
    contexts: Contexts, denoiser: Denoiser, test: Embeddings, params: Params, scorers: Scorers
) -> ClipScores:
    """Make one clip for each test caption as `sample_a` and `sample_b` do, and score it; nothing is written."""
    codec = load_codec().to(device())
    by_id = {row["id"]: row for row in accepted_clips("test")}
    chosen = spread(range(len(test.ids)), params.sample.captions or len(test.ids))
    sampled = SampleSet("arm", lambda rows, _: contexts(rows), params.sample.guidance_scale, 1)
    takes = [(index, 0) for index in chosen]
    waveforms = [
        make_clips(sampled, batch, denoiser.eval(), codec, test, params.sample) for batch in in_batches(takes, BATCH)
    ]
    rows = [by_id[test.ids[index]] for index in chosen]
    return score_clips(SystemClips(rows, [0] * len(rows), torch.cat(waveforms).clamp(-1, 1)), scorers)


def swapped(test: Embeddings, swap: Swap) -> Embeddings:
    """The test pairs with the image, the text or both of the pair half the split away; CLAP's tokens are of both."""
    others = test.rows((torch.arange(len(test.ids)) + len(test.ids) // 2) % len(test.ids))
    return replace(
        test,
        image=test.image if swap == "text" else others.image,
        text=test.text if swap == "image" else others.text,
        clap_tokens=others.clap_tokens if swap == "both" else test.clap_tokens,
    )


def caption_scores(scores: ClipScores) -> dict[str, Any]:
    """Each caption's mean over its takes: `ids`, and by metric a list in their order, None where it tells nothing.

    Beside the metrics of `score_clips`: `fit`, the mean of source accuracy and attribute adherence, which the verdicts
    are of.
    """
    values = {name: list(numbers) for name, numbers in scores.values.items()}
    unknown = [math.nan] * len(scores.rows)
    accuracy, adherence = (values.get(name, unknown) for name in ("source_accuracy", "attribute_adherence"))
    values = {"seen": accuracy, "heard": unknown} | values
    values["fit"] = [known_mean(pair) for pair in zip(accuracy, adherence, strict=True)]
    ids = sorted({row["id"] for row in scores.rows})
    of_id = {item: [index for index, row in enumerate(scores.rows) if row["id"] == item] for item in ids}
    means = {
        name: [known_mean(numbers[index] for index in of_id[item]) for item in ids] for name, numbers in values.items()
    }
    return {
        "ids": ids,
        **{name: [None if one != one else round(one, 4) for one in numbers] for name, numbers in means.items()},
    }
