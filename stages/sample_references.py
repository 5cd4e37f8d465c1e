"""Generate the test split's clips of the systems that A and B are held against.

Command: `python -m stages.sample_references`
Reads:   data/embeddings/test.safetensors, data/quality/accepted.jsonl, models/codec/, models/backbone/
Writes:  data/samples/references/<system>/ (FLAC + metadata.jsonl)
Runtime: about half a minute for 100 captions, 3 takes and 12 steps on 2 cores.

`codec` is the codec's round trip (ceiling), `reference` the backbone under the true CLAP features, `floor` the context
of "" at guidance 1.
"""

from __future__ import annotations

from stages.embedding.embeddings import load_embeddings
from stages.experiments.sampling import SampleSet, at_both_scales, write_samples
from stages.params.schema import load_params
from stages.plumbing.running import run
from stages.synthesis.unet import load_denoiser
from stages.tracking.stage_runs import log_stage


def main() -> None:
    """Sample codec, reference and floor."""
    params, data = load_params().sample, load_embeddings("test")
    sets = [
        SampleSet("codec", None, 1.0, takes=1),
        *at_both_scales("reference", lambda rows, _: rows.clap_tokens, params),
        SampleSet(
            "floor",
            lambda rows, _: rows.empty_tokens.expand_as(rows.clap_tokens),
            1.0,
            params.clips_per_caption_unguided,
        ),
    ]
    log_stage("sample_references", write_samples("references", sets, load_denoiser(), data, params))


if __name__ == "__main__":
    run(main)
