"""Embed the accepted pairs once: ImageBind's text and image, CLAP's text token features, mel latents.

Command: `python -m stages.embed`
Reads:   data/quality/accepted.jsonl, data/corpus/, data/images/, models/encoders/, models/codec/
Writes:  data/embeddings/{train,valid,test}.safetensors
Runtime: about 20 s for 800 pairs on 2 cores. Memory does not grow with their number.

CLAP reads the full caption. ImageBind reads the image and, by `embed.text`, the text part or the caption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from stages.corpus.clips import SPLITS, Row, iterate_accepted_clips, nothing_accepted, read_waveforms
from stages.experiments.embeddings import EMBEDDINGS, write_embeddings
from stages.plumbing.device import device
from stages.plumbing.files import replacing_folder
from stages.plumbing.params import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.plumbing.tracking import log_stage
from stages.synthesis.mel import mel_spectrogram
from stages.synthesis.store import Codec, load_codec
from stages.towers import imagebind as ib
from stages.towers.clap import TextEncoder, TextTokenizer, token_counts
from stages.towers.store import load_clap, load_imagebind

BATCH = 32


def main() -> None:
    """Embed each split in batches and write it as one file, a batch at a time."""
    params = load_params().embed
    torch.use_deterministic_algorithms(True)
    towers = load_towers()
    empty_tokens = towers.clap.token_features(towers.tokenizer([""]).to(device()))[0].detach().cpu()
    counts = {}
    with replacing_folder(EMBEDDINGS) as folder:
        for split in SPLITS:
            ids = [row["id"] for row in iterate_accepted_clips(split)]
            if not ids:
                raise ValueError(nothing_accepted(split))
            batches = (embed_batch(rows, params.text, towers) for rows in in_batches(iterate_accepted_clips(split)))
            total = -(-len(ids) // BATCH)
            shown = progress(batches, f"embed {split}", total)
            write_embeddings(folder / f"{split}.safetensors", ids, empty_tokens, shown)
            counts[f"{split}_pairs"] = len(ids)
    log_stage("embed", params, counts, {})


@dataclass(frozen=True)
class Towers:
    """The frozen networks that embed."""

    imagebind: nn.Module
    clap: TextEncoder
    tokenizer: TextTokenizer
    codec: Codec


def load_towers() -> Towers:
    """Load them onto the device."""
    clap, tokenizer = load_clap()
    clap.to(device())
    return Towers(load_imagebind().to(device()), clap, tokenizer, load_codec().to(device()))


def in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Lists of BATCH rows, the last one shorter."""
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        yield batch


@torch.no_grad()
def embed_batch(rows: list[Row], text_field: str, towers: Towers) -> dict[str, Tensor]:
    """The rows' part of each tensor of `Embeddings`; `text_field` names what ImageBind reads."""
    tokens = towers.tokenizer([row["caption"] for row in rows])
    images = torch.stack([ib.read_image(row["image"]) for row in rows])
    embedded = {
        "text": ib.embed_texts(towers.imagebind, ib.tokenize([row[text_field] for row in rows])),
        "image": ib.embed_images(towers.imagebind, images),
        "clap_tokens": towers.clap.token_features(tokens.to(device())),
        "clap_lengths": token_counts(tokens, towers.tokenizer.padding),
        "latents": towers.codec.encode(mel_spectrogram(read_waveforms(rows))),
    }
    return {name: tensor.cpu() for name, tensor in embedded.items()}


if __name__ == "__main__":
    run(main)
