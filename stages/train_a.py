"""Experiment A, direct replacement: a projection of the fused embedding takes the place of CLAP's token features.

Command: `python -m stages.train_a`
Reads:   data/embeddings/, models/backbone/
Writes:  models/experiment_a/, metrics/train_a.json, metrics/curves/train_a.tsv
Runtime: about 70 s on 2 cores.

Stage 1 trains fusion and projection through the frozen U-Net; stage 2 goes on with the U-Net, a tenth of the
contexts dropped to "" so that guidance keeps working.
"""

from __future__ import annotations

from stages.embedding.embeddings import load_embeddings
from stages.experiments.experiment_a import EXPERIMENT_A
from stages.experiments.fusion import save_experiment
from stages.experiments.training_a import train_experiment_a
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
    """Train both stages, keep the best weights, write curve and metrics."""
    params, is_first = load_params().train_a, join()
    be_deterministic(params.seed)
    data, valid = load_embeddings("train"), load_embeddings("valid").to(device())
    denoiser, work = load_denoiser().to(device()), work_folder("train_a")
    trained = train_experiment_a(params, data, valid, denoiser, work)
    if not is_first:
        return
    with replacing_folder(EXPERIMENT_A) as folder:
        save_experiment(folder, trained.config, trained.best)
    write_tsv("metrics/curves/train_a.tsv", trained.curve)
    write_json("metrics/train_a.json", trained.metrics)
    remove_work(work)
    log_stage("train_a", trained.metrics, {"train_a": trained.curve})


if __name__ == "__main__":
    run(main)
