"""Clips of the test split by the systems that `evaluate` compares.

A take's starting noise depends on the caption's id and the take alone, so all systems start from the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from stages.corpus.clips import Row, accepted_pairs, spread
from stages.embedding.embeddings import Embeddings
from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import replacing_folder, write_jsonl
from stages.params.experiments import Sample
from stages.plumbing.cluster import in_batches
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.synthesis.codec import Codec, load_codec
from stages.synthesis.samplers import sample_latents
from stages.synthesis.unet import Denoiser
from stages.training.determinism import be_deterministic, derive_seed

SAMPLES = Path("data/samples")
BATCH = 32
SeededContexts = Callable[[Embeddings, list[int]], Tensor]


@dataclass(frozen=True)
class SampleSet:
    """The clips of one name: contexts `[B, T, C]` of rows on the device and their seeds, `takes` clips a row.

    Without contexts the real clips' own latents are decoded, which no generator can surpass.
    """

    name: str
    contexts: SeededContexts | None
    guidance_scale: float
    takes: int


def at_both_scales(name: str, contexts: SeededContexts, params: Sample) -> list[SampleSet]:
    """The clips at the guidance scale and, as `<name>_guidance_1`, those without guidance."""
    return [
        SampleSet(name, contexts, params.guidance_scale, params.clips_per_caption),
        SampleSet(f"{name}_guidance_1", contexts, 1.0, params.clips_per_caption_unguided),
    ]


@torch.no_grad()
def write_samples(
    group: str, sets: Sequence[SampleSet], denoiser: Denoiser, data: Embeddings, params: Sample
) -> dict[str, float]:
    """Write `data/samples/<group>/<set>/` (FLAC + metadata.jsonl); return each set's numbers, for MLflow alone.

    These are its clips and its `real_time_factor`: seconds that making a second of audio took, from contexts to
    waveforms. `denoiser` is moved to the device.
    """
    be_deterministic()
    codec = load_codec().to(device())
    denoiser.eval().to(device())
    pairs = {row["id"]: row for row in accepted_pairs("test")}
    rows = [pairs[item] for item in data.ids]
    chosen = spread(range(len(rows)), params.captions or len(rows))
    numbers: dict[str, float] = {}
    with replacing_folder(SAMPLES / group) as folder:
        for one in sets:
            wanted = [(index, take) for index in chosen for take in range(one.takes)]
            written: list[Row] = []
            spent = made = 0.0
            for batch in progress(in_batches(wanted, BATCH), one.name, -(-len(wanted) // BATCH)):
                began = time.perf_counter()
                waveforms = make_clips(one, batch, denoiser, codec, data, params)
                spent, made = spent + time.perf_counter() - began, made + waveforms.numel() / SAMPLE_RATE
                written += write_clips(folder / one.name, rows, batch, waveforms, one.guidance_scale)
            write_jsonl(folder / one.name / "metadata.jsonl", written)
            numbers |= {f"{one.name}_clips": len(written), f"{one.name}_real_time_factor": spent / made}
    return numbers


def make_clips(
    sampled: SampleSet,
    takes: Sequence[tuple[int, int]],
    denoiser: Denoiser,
    codec: Codec,
    data: Embeddings,
    params: Sample,
) -> Tensor:
    """Waveforms `[B, samples]` of a set; a take is an index of `data` and a number."""
    rows = data.rows(torch.tensor([index for index, _ in takes])).to(device())
    latents = rows.latents
    if sampled.contexts is not None:
        seeds = [derive_seed(params.seed, data.ids[index], take) for index, take in takes]
        latents = sample_latents(
            denoiser,
            sampled.contexts(rows, seeds),
            rows.empty_tokens,
            seeds=seeds,
            latent_shape=tuple(latents.shape[1:]),
            sampler=params.sampler,
            steps=params.steps,
            guidance_scale=sampled.guidance_scale,
            guidance_from_timestep=params.guidance_from_timestep,
        )
    return codec.decode(latents)


def write_clips(
    folder: Path, rows: list[Row], takes: list[tuple[int, int]], waveforms: Tensor, guidance_scale: float
) -> list[Row]:
    """Write waveforms `[B, samples]` as 16-bit FLAC, return rows; a take is an index of `rows` and a number."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (index, take), waveform in zip(takes, waveforms, strict=True):
        row = rows[index]
        name = f"{row['id']}_{take}.flac"
        soundfile.write(folder / name, waveform.clamp(-1, 1).numpy(), SAMPLE_RATE, subtype="PCM_16")
        caption = {"id": row["id"], "take": take, "caption": row["caption"]}
        written.append({"file_name": name, **caption, "guidance_scale": guidance_scale})
    return written
