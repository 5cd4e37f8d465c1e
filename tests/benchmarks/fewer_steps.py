"""What fewer evaluations of the U-Net cost: the miniature's own clips under each setting, scored by its judges.

Command: `python -m tests.benchmarks.fewer_steps FOLDER [STEPS ...]`, FOLDER holding a finished run; prints the table of
docs/benchmarks.md. For A and B, each setting and each further number of steps: evaluations a clip, then KAD, CLAP
score, source accuracy and attribute adherence, each with the 95 % interval of its difference from Make-An-Audio's
setting (DDIM 100, guidance 3 in every step), over the same captions and noise. Five minutes on a core.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.corpus.clips import accepted_clips, read_waveforms
from stages.embedding.embeddings import load_embeddings
from stages.evaluation.adherence import calibrate
from stages.evaluation.distances import kernel_counted
from stages.evaluation.scoring import SystemClips, hear, load_scorers, score_clips
from stages.experiments.experiment_a import load_experiment_a
from stages.experiments.experiment_b import load_experiment_b
from stages.inference.run import FAST
from stages.params.schema import load_params
from stages.synthesis.codec import load_codec
from stages.synthesis.samplers import sample_latents
from stages.synthesis.unet import load_denoiser
from stages.training.determinism import derive_seed

MAKE_AN_AUDIO = {"sampler": "ddim", "steps": 100, "guidance_scale": 3.0, "guidance_from_timestep": 0}
METRICS = {
    "kad": "KAD",
    "clap_score": "CLAP score",
    "source_accuracy": "source accuracy",
    "attribute_adherence": "attribute adherence",
}
DRAWS = 1000


@torch.no_grad()
def main(folder: str, *more_steps: str) -> None:
    """Sample, score and print."""
    os.chdir(folder)
    params, data, codec = load_params().sample, load_embeddings("test"), load_codec()
    own: dict[str, Any] = {key: getattr(params, key) for key in MAKE_AN_AUDIO}
    settings = {"Make-An-Audio's": MAKE_AN_AUDIO, "default": own, "fast": own | FAST}
    settings |= {f"{steps} steps": own | FAST | {"steps": int(steps)} for steps in more_steps}
    train, pairs = accepted_clips("train"), {row["id"]: row for row in accepted_clips("test")}
    waveforms = read_waveforms(train)
    scorers = load_scorers(calibrate(train, waveforms))
    real = hear(waveforms, scorers).main
    print(f"| experiment | setting | evaluations | {' | '.join(METRICS.values())} |\n{'| --- ' * (3 + len(METRICS))}|")
    a, b = load_experiment_a(), load_experiment_b()
    contexts = a.context(data.text, data.image), b.context(data.text, data.image, range(len(data.ids)))
    for experiment, denoiser, context in zip("AB", (a.denoiser, load_denoiser()), contexts, strict=True):
        evaluated: list[int] = []
        denoiser.eval().register_forward_hook(lambda _, given, __, to=evaluated: to.append(len(given[0])))
        first: dict[str, Any] = {}
        for name, setting in settings.items():
            evaluated.clear()
            seeds, shape = [derive_seed(params.seed, item, 0) for item in data.ids], tuple(data.latents.shape[1:])
            latents = sample_latents(denoiser, context, data.empty_tokens, seeds=seeds, latent_shape=shape, **setting)
            clips = SystemClips([pairs[item] for item in data.ids], [0] * len(data.ids), codec.decode(latents))
            scores = score_clips(clips, scorers)
            figures = {"kad": kernel_counted(real, scores.heard.main)}
            figures |= {key: mean_counted(torch.tensor(scores.values[key])) for key in METRICS if key != "kad"}
            first = first or figures
            cells = [difference(figure, first[key], len(data.ids)) for key, figure in figures.items()]
            print(f"| {experiment} | {name} | {sum(evaluated) / len(data.ids):.0f} | {' | '.join(cells)} |", flush=True)


def mean_counted(values: Tensor) -> Any:
    """The mean of the clips that have a value, as a function of how often each clip is counted."""
    known = (~values.isnan()).numpy()
    filled = values.nan_to_num().numpy()
    return lambda counts: counts @ filled / (counts @ known)


def difference(figure: Any, other: Any, clips: int) -> str:
    """A figure, and the 95 % interval of its difference from another one's over draws of the same captions."""
    counts = np.random.default_rng(1).multinomial(clips, np.full(clips, 1 / clips), DRAWS).astype(float)
    low, high = np.quantile(figure(counts) - other(counts), (0.025, 0.975))
    interval = "" if figure is other else f" ({low:+.2f} to {high:+.2f})"
    return f"{figure(np.ones((1, clips)))[0]:.2f}{interval}"


if __name__ == "__main__":
    main(*sys.argv[1:])
