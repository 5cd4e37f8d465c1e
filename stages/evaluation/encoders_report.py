"""What the conditioning towers know: retrieval on the test split, and linear probes per attribute and modality."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stages.corpus.clips import SEEN_ATTRIBUTES, Row, heard_key, read_waveforms, seen_key, whole_key
from stages.evaluation.probes import probe_attributes
from stages.evaluation.retrieval import recall_at
from stages.synthesis.mel import mel_spectrogram
from stages.towers import imagebind as ib
from stages.towers.clap import Clap, Tokenizer

BATCH = 64
PUBLISHED_BATCH = 16


@torch.no_grad()
def report_encoders(
    imagebind: nn.Module, clap: Clap, tokenizer: Tokenizer, splits: dict[str, list[Row]]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Metrics of `metrics/encoders.json`, and rows of `metrics/probes.tsv`: attribute, embedding, accuracy as value.

    R@1 and R@10 are of the test split; probes are fitted on train and scored on test. `seen_` and `heard_probe_<name>`
    are means over the attributes that are seen or only heard. `heard_probe_ratio` tells how well the heard attributes
    can be read from ImageBind's embedding of the text part, as a share of how well from CLAP's mean word feature of the
    caption, which is what steers the reference; `seen_probe_ratio` does so for the image and what is seen.
    """
    train, test = (_embed(imagebind, clap, tokenizer, splits[split]) for split in ("train", "test"))
    rows = splits["test"]
    seen, heard, whole = ([key(row) for row in rows] for key in (seen_key, heard_key, whole_key))
    pairs = {
        "image_to_visual_part": (test["image"], test["visual_part"], seen),
        "image_to_audio": (test["image"], test["audio"], seen),
        "text_part_to_audio": (test["text_part"], test["audio"], heard),
        "caption_to_audio": (test["caption"], test["audio"], whole),
        "text_part_to_caption": (test["text_part"], test["caption"], heard),
        "clap_caption_to_audio": (test["clap"], test["clap_audio"], whole),
    }
    metrics = {
        f"{name}_recall_at_{k}": round(recall_at(queries, keys, k, groups), 4)
        for name, (queries, keys, groups) in pairs.items()
        for k in (1, 10)
    }
    for one in (train, test):
        one["fused"] = (one["text_part"] + one["image"]) / 2
    probes = {name: probe_attributes(train[name], splits["train"], test[name], rows) for name in test}
    probes["majority_answer"] = probe_attributes(None, splits["train"], None, rows)
    table = [
        {"attribute": attribute, "embedding": embedding, "value": round(accuracy, 4)}
        for embedding, scores in probes.items()
        for attribute, accuracy in scores.items()
    ]
    return metrics | _probe_means(probes), table


def _probe_means(probes: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over seen and over heard attributes of what A and B read and of what the reference reads."""
    means: dict[str, float] = {}
    attributes = [name for name in probes["majority_answer"] if name != "source"]
    for side, own in (("seen", "image"), ("heard", "text_part")):
        names = [name for name in attributes if (name in SEEN_ATTRIBUTES) == (side == "seen")]
        for embedding in ("image", "text_part", "fused", "clap_tokens", "majority_answer") if names else ():
            mean = sum(probes[embedding][name] for name in names) / len(names)
            means[f"{side}_probe_{embedding}"] = round(mean, 4)
        if names:
            ratio = means[f"{side}_probe_{own}"] / max(means[f"{side}_probe_clap_tokens"], 1e-4)
            means[f"{side}_probe_ratio"] = round(ratio, 4)
    return means


@torch.no_grad()
def report_published(imagebind: nn.Module, audio: nn.Module, rows: list[Row]) -> dict[str, float]:
    """R@1 and R@10 among the rows for the published ImageBind; `audio` is its audio tower alone."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(rows), PUBLISHED_BATCH):
        batch = rows[start : start + PUBLISHED_BATCH]
        embedded = {"image": ib.embed_images(imagebind, torch.stack([ib.read_image(row["image"]) for row in batch]))}
        embedded["audio"] = ib.embed_waveforms(audio, read_waveforms(batch))
        for field in ("visual_part", "text_part"):
            embedded[field] = ib.embed_texts(imagebind, ib.tokenize([row[field] for row in batch]))
        for name, embedding in embedded.items():
            parts.setdefault(name, []).append(embedding.cpu())
    joined = {name: torch.cat(embeddings) for name, embeddings in parts.items()}
    seen, heard = ([key(row) for row in rows] for key in (seen_key, heard_key))
    pairs = (("image", "visual_part", seen), ("image", "audio", seen), ("text_part", "audio", heard))
    return {
        f"{query}_to_{key}_recall_at_{k}": round(recall_at(joined[query], joined[key], k, groups), 4)
        for query, key, groups in pairs
        for k in (1, 10)
    }


def _embed(imagebind: nn.Module, clap: Clap, tokenizer: Tokenizer, rows: list[Row]) -> dict[str, Tensor]:
    """Every modality's embeddings `[N, D]` of the rows."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        waveforms, tokens = read_waveforms(batch), tokenizer([row["caption"] for row in batch])
        embedded = {
            "image": ib.embed_images(imagebind, torch.stack([ib.read_image(row["image"]) for row in batch])),
            "audio": ib.embed_waveforms(imagebind, waveforms),
            "clap": clap.embed_texts(tokens),
            "clap_tokens": _mean_of_words(clap.token_features(tokens), tokens),
            "clap_audio": clap.embed_audio(mel_spectrogram(waveforms)),
        }
        for field in ("caption", "visual_part", "text_part"):
            embedded[field] = ib.embed_texts(imagebind, ib.tokenize([row[field] for row in batch]))
        for name, embedding in embedded.items():
            parts.setdefault(name, []).append(embedding)
    return {name: torch.cat(embeddings) for name, embeddings in parts.items()}


def _mean_of_words(features: Tensor, tokens: Tensor) -> Tensor:
    """Mean of token features `[B, T, C]` over the positions that are no padding."""
    words = (tokens != 0)[:, :, None]
    return (features * words).sum(dim=1) / words.sum(dim=1)
