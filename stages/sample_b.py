"""Generate the test split's clips of experiment B, at `sample.guidance_scale` and at guidance 1.

Command: `python -m stages.sample_b`
Reads:   data/embeddings/test.safetensors, data/quality/accepted.jsonl, models/codec/, models/backbone/,
         models/experiment_b/
Writes:  data/samples/b/<system>/ (FLAC + metadata.jsonl)
Runtime: about half a minute for 100 captions, 3 takes and 12 steps on 2 cores.
"""

from __future__ import annotations

from stages.embedding.embeddings import load_embeddings
from stages.experiments.experiment_b import load_experiment_b
from stages.experiments.sampling import at_both_scales, write_samples
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.synthesis.unet import load_denoiser
from stages.tracking.stage_runs import log_stage


def main() -> None:
    """Sample experiment B."""
    params, data, network = load_params().sample, load_embeddings("test"), load_experiment_b().to(device())
    sets = at_both_scales("experiment_b", lambda rows, seeds: network.context(rows.text, rows.image, seeds), params)
    log_stage("sample_b", write_samples("b", sets, load_denoiser(), data, params))


if __name__ == "__main__":
    run(main)
