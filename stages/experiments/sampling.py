"""Clips of the test split by the systems that `evaluate` compares.

A take's starting noise depends on the caption's id and the take alone, so all systems start from the same noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
from torch import Tensor, nn

from stages.corpus.clips import Row, accepted_pairs, spread
from stages.embedding.embeddings import Embeddings
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import replacing_folder, write_jsonl
from stages.params.experiments import Sample
from stages.plumbing.cluster import in_batches
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.synthesis.codec import load_codec
from stages.synthesis.generation import sample_latents
from stages.training.determinism import derive_seed

SAMPLES = Path("data/samples")
BATCH = 32
# Name, contexts `[N, T, C]` of the split's captions, guidance scale.
System = tuple[str, Tensor, float]


def at_both_scales(name: str, context: Tensor, guidance_scale: float) -> list[System]:
    """A system at its guidance scale and, as `<name>_guidance_1`, without guidance."""
    return [(name, context, guidance_scale), (f"{name}_guidance_1", context, 1.0)]


def write_samples(
    group: str, systems: Sequence[System], unet: nn.Module, data: Embeddings, params: Sample, round_trip: bool = False
) -> dict[str, float]:
    """Write `data/samples/<group>/<system>/` (FLAC + metadata.jsonl); return each system's number of clips.

    With `round_trip` the system `codec` is among them: the real clips' own latents, decoded, which no generator can
    surpass. `unet` is moved to the device.
    """
    torch.use_deterministic_algorithms(True)
    codec = load_codec().to(device())
    unet.eval().to(device())
    pairs = {row["id"]: row for row in accepted_pairs("test")}
    rows = [pairs[item] for item in data.ids]
    chosen = spread(range(len(rows)), params.captions or len(rows))

    def denoised(takes: list[tuple[int, int]], context: Tensor, guidance_scale: float) -> Tensor:
        return sample_latents(
            unet,
            context[[index for index, _ in takes]],
            data.empty_tokens,
            seeds=[derive_seed(params.seed, data.ids[index], take) for index, take in takes],
            latent_shape=tuple(data.latents.shape[1:]),
            sampler=params.sampler,
            steps=params.steps,
            guidance_scale=guidance_scale,
        )

    counts = {}
    with replacing_folder(SAMPLES / group) as folder:
        for system, context, guidance_scale in [*([("codec", None, 1.0)] if round_trip else []), *systems]:
            takes = params.clips_per_caption if guidance_scale > 1 else params.clips_per_caption_unguided
            wanted = [(index, take) for index in chosen for take in range(1 if context is None else takes)]
            written: list[Row] = []
            for batch in progress(in_batches(wanted, BATCH), system, -(-len(wanted) // BATCH)):
                real = data.latents[[index for index, _ in batch]]
                latents = real if context is None else denoised(batch, context, guidance_scale)
                written += write_clips(folder / system, rows, batch, codec.decode(latents), guidance_scale)
            write_jsonl(folder / system / "metadata.jsonl", written)
            counts[f"{system}_clips"] = float(len(written))
    return counts


def write_clips(
    folder: Path, rows: list[Row], takes: list[tuple[int, int]], waveforms: Tensor, guidance_scale: float
) -> list[Row]:
    """Write waveforms `[B, samples]` as 16-bit FLAC; return their metadata. A take is (index of its row, number)."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (index, take), waveform in zip(takes, waveforms, strict=True):
        name = f"{rows[index]['id']}_{take}.flac"
        soundfile.write(folder / name, waveform.clamp(-1, 1).numpy(), SAMPLE_RATE, subtype="PCM_16")
        caption = {"id": rows[index]["id"], "take": take, "caption": rows[index]["caption"]}
        written.append({"file_name": name, **caption, "guidance_scale": guidance_scale})
    return written
