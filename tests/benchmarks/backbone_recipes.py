"""What other ways to train the backbone are worth: each trained anew, and the reference's clips scored.

Command: `python -m tests.benchmarks.backbone_recipes FOLDER [RECIPE ...]`, FOLDER holding a finished run and its
study's references (`bind-an-audio study`); prints the table of docs/pipeline.md, a row a recipe and average of its
weights. Three takes of each test caption from noise that all rows share; in brackets the 95 % interval over captions of
the difference from the first row. Some ten minutes a recipe on a core.

- `plain`: as `backbone` does.
- `contrastive`: less 0.05 times the error to another clip's target (Stoica et al. 2025, "Contrastive flow matching").
- `aligned`: for the first 40 % of the updates plus 0.5 times one minus the cosine of the U-Net's middle, through a
  perceptron, to CLAP's audio features of the clip, frame by frame (Yu et al. 2024, "Representation alignment").
- `logit_normal`: timesteps around the middle oftener than at the ends (Esser et al. 2024, section 3.1).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from stages.backbone import encode_split
from stages.corpus.clips import accepted_clips
from stages.embedding.embeddings import load_embeddings
from stages.evaluation.intervals import bootstrap_mean
from stages.evaluation.scoring import Scorers, load_scorers
from stages.formats.files import read_json
from stages.params.models import TrainedBackbone
from stages.params.schema import Params, load_params
from stages.study.arms import REFERENCES, Arm, arm_params
from stages.study.trial import caption_scores, sample_arm
from stages.synthesis.codec import load_codec
from stages.synthesis.mel import mel_spectrogram
from stages.synthesis.schedule import TRAINING_STEPS
from stages.synthesis.unet import Denoiser, build_denoiser
from stages.towers.store import load_clap
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.diffusion import drop_context, fixed_diffusion_loss, timestep_weights
from stages.training.loop import move_average, train_by_schedule
from stages.training.stored import stored, waveform_pieces
from tests.benchmarks.train_size import METRICS, told

RECIPES = ("plain", "contrastive", "aligned", "logit_normal")
TAKES = 3
DECAYS = (0.0, 0.995, 0.998)  # of further averages of the plain recipe's weights, beside the run's own
CONTRAST, ALIGNMENT, ALIGNED_SHARE = 0.05, 0.5, 0.4


def main(folder: str, *recipes: str) -> None:
    """Train, sample, score and print."""
    os.chdir(folder)
    params = load_params()
    assert isinstance(params.backbone, TrainedBackbone)
    scorers = load_scorers(read_json(REFERENCES)["thresholds"])
    first: dict[str, Any] = {}
    heads = " | ".join(METRICS.values())
    print(f"| recipe | seconds an update | validation loss | {heads} |\n{'| --- ' * (3 + len(METRICS))}|", flush=True)
    with TemporaryDirectory() as work:
        codec, (clap, tokenizer) = load_codec(), load_clap()
        latents, context = encode_split("foundation", codec, clap, tokenizer, Path(work))
        valid = encode_split("valid", codec, clap, tokenizer, Path(work))
        with torch.no_grad():
            empty = clap.token_features(tokenizer([""]))[0]
        for recipe in recipes or RECIPES:
            heard = audio_features(clap, Path(work)) if recipe == "aligned" else None
            began = time.process_time()
            networks = train(recipe, params.backbone, latents, context, empty, heard, Path(work))
            seconds = (time.process_time() - began) / params.backbone.training.updates
            for name, denoiser in networks.items():
                loss = fixed_diffusion_loss(denoiser.eval(), *valid)
                scores = scored(denoiser, params, scorers)
                first = first or scores
                cells = [difference(scores, first, metric) for metric in METRICS]
                print(f"| {name} | {seconds:.3f} | {loss:.4f} | {' | '.join(cells)} |", flush=True)


def train(
    recipe: str,
    params: TrainedBackbone,
    latents: Tensor,
    context: Tensor,
    empty: Tensor,
    heard: Tensor | None,
    work: Path,
) -> dict[str, Denoiser]:
    """The trained U-Net by the name of its row; of the plain recipe also its other averages."""
    be_deterministic(params.seed)
    denoiser = build_denoiser(params, latents.shape[1], context.shape[2])
    width = params.channels[-1]
    features = heard.shape[1] if heard is not None else 1
    perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, features))
    network = nn.ModuleDict({"denoiser": denoiser} | ({} if heard is None else {"perceptron": perceptron}))
    weights = timestep_weights(denoiser.schedule)
    middle: list[Tensor] = []
    hook = denoiser.unet.mid_block.register_forward_hook(lambda *given: middle.append(given[-1]))
    averages = {decay: build_denoiser(params, latents.shape[1], context.shape[2]) for decay in DECAYS}

    def loss(update: int) -> Tensor:
        if recipe == "plain" and torch.is_grad_enabled():
            for decay, average in averages.items():
                move_average(average, denoiser, decay if update > 1 else 0.0)
        batch = batch_indices(update, len(latents), params.training.batch_size, params.seed, "backbone")
        conditioned = drop_context(context[batch], empty, params.caption_dropout)
        clean, count = latents[batch], len(batch)
        timesteps = ((torch.randperm(count) + torch.rand(count)) * TRAINING_STEPS / count).long()
        if recipe == "logit_normal":
            timesteps = (torch.sigmoid(torch.randn(count)) * TRAINING_STEPS).long().clamp(max=TRAINING_STEPS - 1)
        noise = torch.randn(clean.shape)
        schedule = denoiser.schedule
        middle.clear()
        predicted = denoiser(schedule.add_noise(clean, noise, timesteps), timesteps, conditioned)
        errors = (predicted - schedule.target(clean, noise, timesteps)).square().mean(dim=(1, 2, 3))
        if recipe == "contrastive":
            other = schedule.target(clean.roll(1, 0), noise.roll(1, 0), timesteps)
            errors = errors - CONTRAST * (predicted - other).square().mean(dim=(1, 2, 3))
        total: Tensor = (weights[timesteps] * errors).mean()
        if heard is not None and update < ALIGNED_SHARE * params.training.updates:
            frames = perceptron(middle[0].mean(dim=2).transpose(1, 2))
            wanted = nn.functional.interpolate(heard[batch], frames.shape[1], mode="linear").transpose(1, 2)
            total = total + ALIGNMENT * (1 - nn.functional.cosine_similarity(frames, wanted, dim=2)).mean()
        return total

    trained = train_by_schedule(
        network,
        loss,
        params.training,
        name="backbone",  # with the seed it decides the noise
        seed=params.seed,
        work=work / recipe,
        ema_decay=params.ema_decay,
    )
    if recipe == "plain":
        move_average(averages[0.0], denoiser, 0.0)
    network.load_state_dict(trained.last)
    hook.remove()
    own = f"{recipe}, average {params.ema_decay}"
    others = {f"{recipe}, average {decay}": average for decay, average in averages.items() if recipe == "plain"}
    return {own: denoiser, **others}


def audio_features(clap: Any, work: Path) -> Tensor:
    """What CLAP's audio tower hears in each frame of the foundation's clips, `[N, C, W]`."""
    tower = clap.audio_encoder

    def hear(waveforms: Tensor) -> Tensor:
        heard: Tensor = torch.relu(
            tower.mix(tower.blocks((mel_spectrogram(waveforms)[:, None] + 2.5) / 1.5).flatten(1, 2))
        )
        return heard

    features = stored(work / "heard", map(hear, waveform_pieces(accepted_clips("foundation"))))
    return features - features.mean(dim=(0, 2), keepdim=True)


def scored(denoiser: Denoiser, params: Params, scorers: Scorers) -> dict[str, Any]:
    """The test captions' scores, means over takes: `ids`, and a list by metric."""
    test = load_embeddings("test")
    arm = Arm(experiment="reference")
    takes = [
        caption_scores(sample_arm(lambda rows: rows.clap_tokens, denoiser, test, arm_params(arm, seed), scorers))
        for seed in range(1, TAKES + 1)
    ]
    means: dict[str, Any] = {"ids": takes[0]["ids"]}
    for metric in METRICS:
        means[metric] = torch.tensor([told(take[metric]) for take in takes]).mean(dim=0)
    return means


def difference(scores: dict[str, Any], other: dict[str, Any], metric: str) -> str:
    """A metric's mean, and the interval of its difference from another recipe's."""
    mean = f"{float(scores[metric].nanmean()):.3f}"
    if scores is other:
        return mean
    gap = bootstrap_mean((scores[metric] - other[metric]).numpy(), scores["ids"], 500, 1)
    return f"{mean} ({gap.low:+.3f} to {gap.high:+.3f})"


if __name__ == "__main__":
    main(*sys.argv[1:])
