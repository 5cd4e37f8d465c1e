"""Experiment B, CLAP alignment: the fused embedding learns to become CLAP's own token sequence.

Command: `python -m stages.train_b`
Reads:   data/embeddings/, models/backbone/ (to measure, and for the finish)
Writes:  models/experiment_b/, metrics/train_b.json, metrics/curves/train_b.tsv
Runtime: about 40 s on 2 cores.

The loss is 2.0 MSE + 1.0 (1 - cosine) against CLAP's token features; the best weights are those of its lowest value on
the validation split. Each epoch also measures the U-Net's diffusion loss under the predicted tokens, on the noise that
experiment A is measured on: that is what compares the two. What else `train_b` offers is off in the published recipe.
"""

from __future__ import annotations

from stages.experiments.experiment_b import EXPERIMENT_B
from stages.experiments.training import run_training
from stages.experiments.training_b import train_experiment_b
from stages.params.schema import load_params
from stages.plumbing.running import run


def main() -> None:
    """Train; beside its metrics stand those of three baselines."""
    run_training("train_b", load_params().train_b, train_experiment_b, EXPERIMENT_B)


if __name__ == "__main__":
    run(main)
