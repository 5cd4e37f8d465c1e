"""Embed the accepted pairs once: ImageBind's text and image, CLAP's text token features, mel latents.

Command: `python -m stages.embed`
Reads:   data/quality/accepted.jsonl, data/corpus/, data/images/, models/encoders/, models/codec/
Writes:  data/embeddings/{train,valid,test}.safetensors
Runtime: about 20 s for 800 pairs on 2 cores. Memory does not grow with their number.

CLAP reads the full caption. ImageBind reads the image and, by `embed.text`, the text part or the caption.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, islice

import torch
from torch import Tensor

from stages.corpus.clips import SPLITS, Row, iterate_accepted_clips, nothing_accepted, read_waveforms
from stages.experiments.embeddings import EMBEDDINGS, EMPTY, write_embeddings
from stages.plumbing.cluster import in_batches, map_batches
from stages.plumbing.device import device
from stages.plumbing.files import replacing_folder
from stages.plumbing.params import load_params
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.plumbing.tracking import log_stage
from stages.synthesis.mel import mel_spectrogram
from stages.synthesis.store import load_codec
from stages.towers import imagebind as ib
from stages.towers.clap import token_counts
from stages.towers.store import load_clap, load_imagebind

BATCH = 32


def main() -> None:
    """Embed each split in batches and write it as one file, a batch at a time."""
    params = load_params().embed
    ids = {split: [row["id"] for row in iterate_accepted_clips(split)] for split in SPLITS}
    for split in SPLITS:
        if not ids[split]:
            raise ValueError(nothing_accepted(split))
    batches = chain.from_iterable(in_batches(iterate_accepted_clips(split), BATCH) for split in SPLITS)
    embedded = map_batches(partial(embedder, params.text), batches, gpu=device().startswith("cuda"))
    with replacing_folder(EMBEDDINGS) as folder:
        for split in SPLITS:
            count = -(-len(ids[split]) // BATCH)
            shown = progress(islice(embedded, count), f"embed {split}", count)
            write_embeddings(folder / f"{split}.safetensors", ids[split], shown)
    log_stage("embed", params, {f"{split}_pairs": len(ids[split]) for split in SPLITS}, {})


def embedder(text_field: str) -> Callable[[list[Row]], dict[str, Tensor]]:
    """Load the towers; return what embeds a batch of rows. `text_field` names what ImageBind reads."""
    torch.use_deterministic_algorithms(True)
    imagebind, codec = load_imagebind().to(device()), load_codec().to(device())
    clap, tokenizer = load_clap()
    clap.to(device())

    @torch.no_grad()
    def embed(rows: list[Row]) -> dict[str, Tensor]:
        """The rows' part of each tensor of `Embeddings`, and the features of ""."""
        tokens = tokenizer([row["caption"] for row in rows])
        images = torch.stack([ib.read_image(row["image"]) for row in rows])
        embedded = {
            "text": ib.embed_texts(imagebind, ib.tokenize([row[text_field] for row in rows])),
            "image": ib.embed_images(imagebind, images),
            "clap_tokens": clap.token_features(tokens.to(device())),
            "clap_lengths": token_counts(tokens, tokenizer.padding),
            "latents": codec.encode(mel_spectrogram(read_waveforms(rows))),
            EMPTY: clap.token_features(tokenizer([""]).to(device()))[0],
        }
        return {name: tensor.cpu() for name, tensor in embedded.items()}

    return embed


if __name__ == "__main__":
    run(main)
