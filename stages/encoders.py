"""Train the towers that condition: a small ImageBind (text, vision, audio) and a small CLAP, contrastively.

Command: `python -m stages.encoders`
Reads:   data/quality/accepted.jsonl, data/corpus/, data/images/
Writes:  models/encoders/, metrics/encoders.json, metrics/probes.tsv
Runtime: about 2 minutes for 2,560 training clips on 2 cores.

ImageBind's text tower learns captions, visual parts and text parts: by caption-image and visual part-image pairs,
by text-audio pairs, and by pairs of a caption and its text part, with negatives that differ in one heard attribute.
CLAP learns caption-audio pairs of the same training clips, and that a caption says what its two parts say.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from stages.corpus.clips import SPLITS, Row, accepted_clips, foundation_split, heard_key, seen_key, whole_key
from stages.evaluation.encoders_report import report_encoders, report_published
from stages.formats.files import replacing_folder, write_json, write_tsv
from stages.params.models import PublishedEncoders, TrainedEncoders
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.published.encoders import convert_encoders
from stages.synthesis.mel import mel_spectrogram
from stages.towers import imagebind as ib
from stages.towers.clap import Clap, Tokenizer, word_pieces, write_vocabulary
from stages.towers.contrastive import (
    contrastive_loss,
    equal_pairs,
    hard_partners,
    key_codes,
    with_hard_partners,
)
from stages.towers.store import (
    ENCODERS,
    load_imagebind,
    load_imagebind_audio,
    load_trained_clap,
    save_encoders,
)
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.loop import Trained, train_by_schedule
from stages.training.stored import stored, waveform_pieces
from stages.training.work import remove_work, work_folder

WORD_TABLE = "modality_preprocessors.text.token_embedding.weight"
PROBE_COLUMNS = ("attribute", "embedding", "value")


def main() -> None:
    """Train both, write them, report retrieval and probes on the test split."""
    params = load_params().encoders
    if params.source == "pretrained":
        convert(params)
        return
    be_deterministic(params.seed)
    rows = accepted_clips(split := foundation_split())
    work = work_folder("encoders")
    imagebind = train_imagebind(rows, params, work)
    with replacing_folder(ENCODERS) as folder:
        write_vocabulary(folder / "vocab.txt", word_pieces(row["caption"] for row in rows))
        clap = train_clap(rows, Tokenizer(folder / "vocab.txt", params.clap.tokens), params, work)
        save_encoders(folder, imagebind.last, params.imagebind, clap.last, params.clap)
    report, probes = report_encoders(
        load_imagebind(), *load_trained_clap(), {split: accepted_clips(split) for split in SPLITS}
    )
    metrics = {**report, "trained_on": split}
    write_json("metrics/encoders.json", metrics)
    write_tsv("metrics/probes.tsv", probes, PROBE_COLUMNS)
    remove_work(work)
    log_stage("encoders", metrics, {"imagebind": imagebind.curve, "clap": clap.curve})


def convert(params: PublishedEncoders) -> None:
    """Take the published ImageBind and CLAP text tower instead, and report retrieval on the test split."""
    be_deterministic()
    with replacing_folder(ENCODERS) as folder:
        counts = convert_encoders(folder, params.weights, params.imagebind, params.clap)
    towers = load_imagebind().to(device()), load_imagebind_audio().to(device())
    metrics = {**report_published(*towers, accepted_clips("test")), **counts}
    write_json("metrics/encoders.json", metrics)
    write_tsv("metrics/probes.tsv", [], PROBE_COLUMNS)
    log_stage("encoders", metrics, {})


def train_imagebind(rows: list[Row], params: TrainedEncoders, work: Path) -> Trained:
    """Train ImageBind in turn on image-text pairs and on audio-text and text-text pairs."""
    schedule = params.imagebind_training
    model = ib.build_imagebind(params.imagebind)
    images = stored(work / "images", (ib.read_image(row["image"])[None] for row in progress(rows, "images")))
    features = stored(work / "features", map(ib.audio_features, waveform_pieces(rows)))
    texts = torch.stack([ib.tokenize([row[name] for row in rows]) for name in ("caption", "visual_part", "text_part")])
    # Numbered anew, in their old order: the largest is still that of a text's end.
    words, numbered = texts.unique(return_inverse=True)
    table = ib.keep_words(model, words)
    caption, seen, heard = numbered
    seen_codes, heard_codes, whole_codes = (key_codes(rows, key) for key in (seen_key, heard_key, whole_key))
    partners = hard_partners(rows)

    def image_loss(batch: Tensor, scale: Tensor) -> Tensor:
        image = ib.embed_images(model, images[batch])
        whole_text, seen_text = ib.embed_texts(model, torch.cat([caption[batch], seen[batch]])).chunk(2)
        same = equal_pairs(seen_codes[batch])
        return contrastive_loss(image, seen_text, scale, same) + contrastive_loss(image, whole_text, scale, same)

    def audio_loss(batch: Tensor, scale: Tensor) -> Tensor:
        audio = ib.embed_audio(model, features[batch])
        whole_text, heard_text = ib.embed_texts(model, torch.cat([caption[batch], heard[batch]])).chunk(2)
        same_heard, same_whole = equal_pairs(heard_codes[batch]), equal_pairs(whole_codes[batch])
        return (
            contrastive_loss(audio, whole_text, scale, same_whole)
            + contrastive_loss(audio, heard_text, scale, same_heard)
            + contrastive_loss(whole_text, heard_text, scale, same_heard)
        )

    def loss(update: int) -> Tensor:
        anchors = batch_indices(update // 2, len(rows), schedule.batch_size // 2, params.seed, "imagebind")
        batch = with_hard_partners(anchors, partners, update // 2)
        return (audio_loss if update % 2 else image_loss)(batch, ib.logit_scale(model))

    trained = train_by_schedule(model, loss, schedule, name="imagebind", seed=params.seed, work=work)
    # What is kept has all words; those that training never saw stay as they began.
    trained.last[WORD_TABLE] = table.index_copy(0, words, trained.last[WORD_TABLE])
    return trained


def train_clap(rows: list[Row], tokenizer: Tokenizer, params: TrainedEncoders, work: Path) -> Trained:
    """Train CLAP on caption-audio pairs, and on pairs of a caption and its two parts in a row.

    The second stands for the language model that CLAP's BERT is before it hears anything: without it a tower of this
    size learns too little of the words from a few hundred clips.
    """
    schedule = params.clap_training
    clap = Clap(params.clap, tokenizer.vocabulary)
    tokens = tokenizer([row["caption"] for row in rows])
    part_tokens = tokenizer([f"{row['visual_part']} {row['text_part']}" for row in rows])
    mels = stored(work / "mels", map(mel_spectrogram, waveform_pieces(rows)))
    codes = key_codes(rows, whole_key)
    partners = hard_partners(rows)

    def loss(update: int) -> Tensor:
        anchors = batch_indices(update, len(rows), max(1, schedule.batch_size // 4), params.seed, "clap")
        batch = with_hard_partners(anchors, partners, update, each=3)
        text, parts = clap.embed_texts(torch.cat([tokens[batch], part_tokens[batch]])).chunk(2)
        audio, scale, same = clap.embed_audio(mels[batch]), clap.logit_scale(), equal_pairs(codes[batch])
        return contrastive_loss(text, audio, scale, same) + contrastive_loss(text, parts, scale, same)

    return train_by_schedule(clap, loss, schedule, name="clap", seed=params.seed, work=work)


if __name__ == "__main__":
    run(main)
