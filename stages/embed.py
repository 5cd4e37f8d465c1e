"""Embed the accepted pairs once: ImageBind's text and image, CLAP's text token features, mel latents.

Command: `python -m stages.embed`
Reads:   data/quality/accepted.jsonl, data/corpus/, data/images/, models/encoders/, models/codec/
Writes:  data/embeddings/{train,valid,test}.safetensors
Runtime: about 20 s for 800 pairs on 2 cores.

CLAP reads the full caption. ImageBind reads the image and, by `embed.text`, the text part or the caption.
"""

from __future__ import annotations

import torch

from stages.corpus.clips import SPLITS, accepted_clips, read_waveforms
from stages.experiments.embeddings import EMBEDDINGS, Embeddings, save_embeddings
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
from stages.towers.contrastive import Row
from stages.towers.store import load_clap, load_imagebind

BATCH = 32


def main() -> None:
    """Embed each split in batches and write it as one file."""
    params = load_params().embed
    torch.use_deterministic_algorithms(True)
    imagebind, codec = load_imagebind().to(device()), load_codec().to(device())
    clap, tokenizer = load_clap()
    clap.to(device())
    counts = {}
    with replacing_folder(EMBEDDINGS) as folder:
        for split in SPLITS:
            rows = accepted_clips(split)
            embeddings = embed_split(rows, split, params.text, imagebind, clap, tokenizer, codec)
            save_embeddings(folder / f"{split}.safetensors", embeddings)
            counts[f"{split}_pairs"] = len(rows)
    log_stage("embed", params, counts, {})


@torch.no_grad()
def embed_split(
    rows: list[Row],
    split: str,
    text_field: str,
    imagebind: torch.nn.Module,
    clap: TextEncoder,
    tokenizer: TextTokenizer,
    codec: Codec,
) -> Embeddings:
    """All tensors of a split; `text_field` names what ImageBind reads."""
    parts: dict[str, list[torch.Tensor]] = {"text": [], "image": [], "clap": [], "lengths": [], "latents": []}
    for start in progress(range(0, len(rows), BATCH), f"embed {split}"):
        batch = rows[start : start + BATCH]
        tokens = tokenizer([row["caption"] for row in batch])
        images = torch.stack([ib.read_image(row["image"]) for row in batch])
        parts["text"].append(ib.embed_texts(imagebind, ib.tokenize([row[text_field] for row in batch])))
        parts["image"].append(ib.embed_images(imagebind, images))
        parts["clap"].append(clap.token_features(tokens.to(device())))
        parts["lengths"].append(token_counts(tokens, tokenizer.padding))
        parts["latents"].append(codec.encode(mel_spectrogram(read_waveforms(batch))))
    joined = {name: torch.cat(tensors).cpu().contiguous() for name, tensors in parts.items()}
    return Embeddings(
        ids=[row["id"] for row in rows],
        text=joined["text"],
        image=joined["image"],
        clap_tokens=joined["clap"],
        clap_lengths=joined["lengths"],
        latents=joined["latents"],
        empty_tokens=clap.token_features(tokenizer([""]).to(device()))[0].cpu().contiguous(),
    )


if __name__ == "__main__":
    run(main)
