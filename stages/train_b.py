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

from stages.embedding.embeddings import load_embeddings
from stages.experiments.experiment_b import EXPERIMENT_B
from stages.experiments.fusion import save_experiment
from stages.experiments.training_b import train_experiment_b
from stages.formats.files import replacing_folder, write_json, write_tsv
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.synthesis.unet import load_denoiser
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import be_deterministic
from stages.training.parallel import join
from stages.training.work import remove_work, work_folder


def main() -> None:
    """Train, keep the best weights, write curve and metrics; beside these stand three baselines'."""
    params, is_first = load_params().train_b, join()
    be_deterministic(params.seed)
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    denoiser, work = load_denoiser().to(device()), work_folder("train_b")
    trained = train_experiment_b(params, data, valid, denoiser, work)
    if not is_first:
        return
    with replacing_folder(EXPERIMENT_B) as folder:
        save_experiment(folder, trained.config, trained.best)
    write_tsv("metrics/curves/train_b.tsv", trained.curve)
    write_json("metrics/train_b.json", trained.metrics)
    remove_work(work)
    log_stage("train_b", trained.metrics, {"train_b": trained.curve})


if __name__ == "__main__":
    run(main)
