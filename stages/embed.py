"""Embed the accepted pairs once: ImageBind's text and image, CLAP's text token features, mel latents.

Command: `python -m stages.embed`
Reads:   data/quality/accepted.jsonl, data/corpus/, data/images/, models/encoders/, models/codec/
Writes:  data/embeddings/{train,valid,test}.safetensors, data/embeddings/agreement.jsonl, metrics/embed.json
Runtime: about 20 s for 800 pairs on 2 cores. Memory does not grow with their number.

CLAP reads the full caption. ImageBind reads the image and, by `embed.text`, the text part or the caption. It also tells
how well each image shows its visual part and how far both parts say the same; pairs that fail
`embed.min_image_text_agreement` or `embed.max_paraphrase_similarity` are left out of training, sampling and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, islice

import torch
from torch import Tensor

from stages.corpus.clips import SPLITS, Row, iterate_accepted_clips, nothing_accepted, read_waveforms
from stages.embedding.agreement import (
    OTHERS,
    agreement_metrics,
    agreement_rows,
    agreement_scores,
    without_scores,
)
from stages.embedding.embeddings import EMBEDDINGS, EMPTY, keep_rows, write_embeddings
from stages.formats.files import replacing_folder, write_json, write_jsonl
from stages.params.schema import load_params
from stages.plumbing.cluster import in_batches, map_batches
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.synthesis.codec import load_codec
from stages.synthesis.mel import mel_spectrogram
from stages.towers import imagebind as ib
from stages.towers.clap import token_counts
from stages.towers.store import load_clap, load_imagebind
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import be_deterministic

BATCH = 32


def main() -> None:
    """Embed each split in batches and write it as one file, a batch at a time; leave out what fails a threshold."""
    params = load_params().embed
    ids = {split: [row["id"] for row in iterate_accepted_clips(split)] for split in SPLITS}
    for split in SPLITS:
        if not ids[split]:
            raise ValueError(nothing_accepted(split))
    batches = chain.from_iterable(in_batches(iterate_accepted_clips(split), BATCH) for split in SPLITS)
    embedded = map_batches(partial(embedder, params.text), batches, gpu=device().startswith("cuda"))
    rows: list[Row] = []
    others: list[float] = []
    with replacing_folder(EMBEDDINGS) as folder:
        for split in SPLITS:
            count, scores = -(-len(ids[split]) // BATCH), dict[str, list[float]]()
            shown = progress(islice(embedded, count), f"embed {split}", count)
            write_embeddings(folder / f"{split}.safetensors", ids[split], without_scores(shown, scores))
            found = agreement_rows(ids[split], split, scores, params)
            kept = [index for index, row in enumerate(found) if not row["left_out"]]
            if not kept:
                raise ValueError(
                    f"embed.min_image_text_agreement={params.min_image_text_agreement:g} and "
                    f"max_paraphrase_similarity={params.max_paraphrase_similarity:g} leave no {split} pair; relax them"
                )
            if len(kept) < len(found):
                keep_rows(folder / f"{split}.safetensors", kept)
            rows += found
            others += scores[OTHERS]
        write_jsonl(folder / "agreement.jsonl", rows)
    metrics = agreement_metrics(rows, others)
    write_json("metrics/embed.json", metrics)
    log_stage("embed", metrics)


def embedder(text_field: str) -> Callable[[list[Row]], dict[str, Tensor]]:
    """Load the towers; return what embeds a batch of rows. `text_field` names what ImageBind reads."""
    be_deterministic()
    imagebind, codec = load_imagebind().to(device()), load_codec().to(device())
    clap, tokenizer = load_clap()
    clap.to(device())
    empty_tokens = clap.token_features(tokenizer([""]).to(device()))[0].detach()

    @torch.no_grad()
    def embed(rows: list[Row]) -> dict[str, Tensor]:
        """The rows' part of each tensor of `Embeddings`, their `agreement_scores`, and the features of ""."""
        tokens = tokenizer([row["caption"] for row in rows])
        texts = {
            part: ib.embed_texts(imagebind, ib.tokenize([row[part] for row in rows]))
            for part in {"visual_part", "text_part", text_field}
        }
        images = torch.stack([ib.read_image(row["image"]) for row in rows])
        embedded = {
            "text": texts[text_field],
            "image": (image := ib.embed_images(imagebind, images)),
            "clap_tokens": clap.token_features(tokens.to(device())),
            "clap_lengths": token_counts(tokens, tokenizer.padding),
            "latents": codec.encode(mel_spectrogram(read_waveforms(rows))),
            **agreement_scores(image, texts["visual_part"], texts["text_part"]),
            EMPTY: empty_tokens,
        }
        return {name: tensor.cpu() for name, tensor in embedded.items()}

    return embed


if __name__ == "__main__":
    run(main)
