"""Experiment A, direct replacement: a projection of the fused embedding takes the place of CLAP's token features.

Command: `python -m stages.train_a`
Reads:   data/embeddings/, models/backbone/
Writes:  models/experiment_a/, metrics/train_a.json, metrics/curves/train_a.tsv
Runtime: about 70 s on 2 cores.

Stage 1 trains fusion and projection through the frozen U-Net; stage 2 goes on with the U-Net, a tenth of the
contexts dropped to "" so that guidance keeps working.
"""

from __future__ import annotations

from stages.experiments.experiment_a import EXPERIMENT_A
from stages.experiments.training import run_training
from stages.experiments.training_a import train_experiment_a
from stages.params.schema import load_params
from stages.plumbing.running import run


def main() -> None:
    """Train both stages."""
    run_training("train_a", load_params().train_a, train_experiment_a, EXPERIMENT_A)


if __name__ == "__main__":
    run(main)
