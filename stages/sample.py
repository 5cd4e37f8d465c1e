"""Generate the clips of the test split that `evaluate` compares; one script, three stages.

Command: `python -m stages.sample references|a|b`
Reads:   data/embeddings/test.safetensors, data/quality/accepted.jsonl, models/codec/, models/backbone/, of A and B
         models/experiment_{a,b}/
Writes:  data/samples/{references,a,b}/<system>/ (FLAC + metadata.jsonl)
Runtime: about 40 s each for 64 captions, 3 takes and 20 steps on 2 cores.

`references` holds the codec's round trip (ceiling), the backbone under the true CLAP features, and the floor: the
context of "" at guidance 1. The reference, A and B stand at `sample.guidance_scale` and at guidance 1.
A take's starting noise depends on the caption's id and the take alone, so all systems start from the same noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile
import torch
from torch import Tensor, nn

from stages.corpus.clips import Row, accepted_pairs, spread
from stages.embedding.embeddings import Embeddings, load_embeddings
from stages.experiments.store import context_a, context_b, load_a, load_b
from stages.formats.files import replacing_folder, write_jsonl
from stages.params.experiments import Sample
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.synthesis.generation import sample_latents
from stages.synthesis.store import Codec, load_codec, load_unet
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import derive_seed

SAMPLES = Path("data/samples")
BATCH = 32


def main() -> None:
    """Sample one group of systems."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("references", "a", "b"):
        raise ValueError("usage: python -m stages.sample references|a|b")
    group = sys.argv[1]
    params = load_params().sample
    torch.use_deterministic_algorithms(True)
    data, codec = load_embeddings("test"), load_codec().to(device())
    unet = load_unet().eval().to(device())
    pairs = {row["id"]: row for row in accepted_pairs("test")}
    rows = [pairs[item] for item in data.ids]
    chosen = spread(range(len(rows)), params.captions or len(rows))
    counts = {}
    with replacing_folder(SAMPLES / group) as folder:
        if group == "references":
            counts["codec"] = write_round_trip(folder / "codec", rows, chosen, data.latents, codec)
        for system, context, guidance_scale in contexts(group, data, unet, params.guidance_scale):
            count = params.clips_per_caption if guidance_scale > 1 else params.clips_per_caption_unguided
            takes = [(index, take) for index in chosen for take in range(count)]
            counts[system] = len(takes)
            batches = [takes[start : start + BATCH] for start in range(0, len(takes), BATCH)]
            written: list[Row] = []
            for batch in progress(batches, system):
                latents = sample_batch(batch, context, data, unet, params, guidance_scale)
                written += write_clips(folder / system, rows, batch, codec.decode(latents), guidance_scale)
            write_jsonl(folder / system / "metadata.jsonl", written)
    log_stage(f"sample_{group}", params, {f"{name}_clips": float(count) for name, count in counts.items()}, {})


@torch.no_grad()
def contexts(group: str, data: Embeddings, unet: nn.Module, guidance_scale: float) -> list[tuple[str, Tensor, float]]:
    """Systems of a group with their contexts `[N, T, C]` and guidance scales; A puts its own weights into `unet`."""
    if group == "references":
        floor = data.empty_tokens.expand_as(data.clap_tokens)
        context = data.clap_tokens
        return [
            ("reference", context, guidance_scale),
            ("reference_guidance_1", context, 1.0),
            ("floor", floor, 1.0),
        ]
    network = load_a(unet) if group == "a" else load_b()
    network.to(device())
    text, image = data.text.to(device()), data.image.to(device())
    context = (context_a if group == "a" else context_b)(network, text, image).cpu()
    return [(f"experiment_{group}", context, guidance_scale), (f"experiment_{group}_guidance_1", context, 1.0)]


def sample_batch(
    batch: list[tuple[int, int]],
    context: Tensor,
    data: Embeddings,
    unet: nn.Module,
    params: Sample,
    guidance_scale: float,
) -> Tensor:
    """Latents `[B, L, 10, W]` of (caption index, take) pairs."""
    return sample_latents(
        unet,
        context[[index for index, _ in batch]],
        data.empty_tokens,
        seeds=[derive_seed(params.seed, data.ids[index], take) for index, take in batch],
        latent_shape=tuple(data.latents.shape[1:]),
        sampler=params.sampler,
        steps=params.steps,
        guidance_scale=guidance_scale,
    )


def write_round_trip(folder: Path, rows: list[Row], chosen: list[int], latents: Tensor, codec: Codec) -> int:
    """Decode the real clips' own latents: what no generator can surpass. Returns the number of clips."""
    written: list[Row] = []
    batches = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    for batch in progress(batches, "codec"):
        written += write_clips(folder, rows, [(index, 0) for index in batch], codec.decode(latents[batch]), 1.0)
    write_jsonl(folder / "metadata.jsonl", written)
    return len(written)


def write_clips(
    folder: Path, rows: list[Row], batch: list[tuple[int, int]], waveforms: Tensor, guidance_scale: float
) -> list[Row]:
    """Write waveforms `[B, samples]` as 16-bit FLAC and return their metadata rows."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (index, take), waveform in zip(batch, waveforms, strict=True):
        name = f"{rows[index]['id']}_{take}.flac"
        soundfile.write(folder / name, waveform.clamp(-1, 1).numpy(), 16_000, subtype="PCM_16")
        written.append(
            {
                "file_name": name,
                "id": rows[index]["id"],
                "take": take,
                "caption": rows[index]["caption"],
                "guidance_scale": guidance_scale,
            }
        )
    return written


if __name__ == "__main__":
    run(main, "references", "a", "b")
