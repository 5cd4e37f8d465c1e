"""Generate the test split's clips of experiment A, at `sample.guidance_scale` and at guidance 1.

Command: `python -m stages.sample_a`
Reads:   data/embeddings/test.safetensors, data/quality/accepted.jsonl, models/codec/, models/backbone/,
         models/experiment_a/
Writes:  data/samples/a/<system>/ (FLAC + metadata.jsonl)
Runtime: about half a minute for 100 captions, 3 takes and 12 steps on 2 cores.
"""

from __future__ import annotations

from stages.embedding.embeddings import load_embeddings
from stages.experiments.experiment_a import load_experiment_a
from stages.experiments.sampling import at_both_scales, write_samples
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.tracking.stage_runs import log_stage


def main() -> None:
    """Sample experiment A."""
    params, data, network = load_params().sample, load_embeddings("test"), load_experiment_a().to(device())
    sets = at_both_scales("experiment_a", lambda rows, _: network.context(rows.text, rows.image), params)
    log_stage("sample_a", write_samples("a", sets, network.denoiser, data, params))


if __name__ == "__main__":
    run(main)
