"""The judges: models that score clips and never condition one. They hear waveform-derived mels of their own.

A source classifier, whose hidden layer also gives the embeddings of the Frechet and kernel distances, and a second
CLAP of another architecture (LAION-CLAP's, by transformers), trained with a seed of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import read_json

JUDGES = Path("models/judges")
MEL_BINS = 64
FRAMES = 256
WINDOW = 512
# Added to the power of every band, some 70 dB under full scale: what is fainter is not heard and not judged.
POWER_FLOOR = 1e-3
BLURS = ((1, 1), (1, 3), (3, 1), (3, 3), (5, 3), (5, 5), (9, 5))  # frames, mels


def judge_mels(waveforms: Tensor) -> Tensor:
    """Log mels `[B, 256, 64]` of waveforms `[B, samples]` at 16 kHz: 256 frames whatever the length.

    In a long clip a frame is the mean power of several windows, which overlap by half or more: all of it is heard.
    """
    import torchaudio

    windows = -(-waveforms.shape[1] // (FRAMES * WINDOW // 2))
    hop = waveforms.shape[1] // (FRAMES * windows)
    power = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=WINDOW, hop_length=hop, n_mels=MEL_BINS, f_min=40)
    parts = (power(part)[:, :, : FRAMES * windows].unflatten(2, (FRAMES, windows)) for part in waveforms.split(64))
    return torch.cat([(part.mean(dim=3) + POWER_FLOOR).log10().transpose(1, 2) for part in parts])


def augmented(mels: Tensor) -> Tensor:
    """Training variety for `[B, 256, 64]`: what a judge has to hear through.

    Blur over time and mels and a higher noise floor, since any small codec has both and a judge that was never told
    would judge the codec; a gain of +-5 dB, a little noise, a band of time and of mels left out.
    """
    batch = len(mels)
    mels = torch.cat([_blurred(pair) for pair in mels.split(2)])
    floor = (-3.0 + 1.5 * torch.rand(batch, 1, 1)).masked_fill(torch.rand(batch, 1, 1) < 0.5, -3.0)
    mels = torch.maximum(mels, floor) + (torch.rand(batch, 1, 1) - 0.5) + 0.1 * torch.randn_like(mels)
    frames, bins = torch.arange(FRAMES), torch.arange(MEL_BINS)
    frame, band = torch.randint(FRAMES, (batch, 1)), torch.randint(MEL_BINS, (batch, 1))
    hidden = ((frames - frame).abs() < 12)[:, :, None] | ((bins - band).abs() < 4)[:, None, :]
    return mels.masked_fill(hidden, -3.0)


def _blurred(mels: Tensor) -> Tensor:
    """A moving mean over 1 to 9 frames and 1 to 5 mels, drawn for all of `[B, 256, 64]`."""
    frames, bins = BLURS[int(torch.randint(len(BLURS), ()))]
    padding = (frames // 2, bins // 2)
    return nn.functional.avg_pool2d(mels[:, None], (frames, bins), 1, padding, count_include_pad=False)[:, 0]


class SourceClassifier(nn.Module):
    """Convolutional blocks over a mel, a hidden embedding, one logit a source."""

    def __init__(self, channels: Sequence[int], embedding_dim: int, sources: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in zip([1, *channels], channels, strict=False):
            blocks += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            blocks += [nn.MaxPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.embed = nn.Linear(2 * channels[-1], embedding_dim)
        self.classify = nn.Linear(embedding_dim, sources)

    def embedding(self, mels: Tensor) -> Tensor:
        """Mels `[B, 256, 64]` to embeddings `[B, D]`."""
        hidden = self.blocks((mels[:, None] + 2) / 1.5).mean(dim=3)
        embedding: Tensor = self.embed(torch.cat([hidden.mean(dim=2), hidden.amax(dim=2)], dim=1))
        return embedding

    def forward(self, mels: Tensor) -> Tensor:
        """Mels `[B, 256, 64]` to logits `[B, sources]`."""
        return self.logits(self.embedding(mels))

    def logits(self, embedding: Tensor) -> Tensor:
        """Embeddings `[B, D]` to logits `[B, sources]`."""
        logits: Tensor = self.classify(nn.functional.gelu(embedding))
        return logits


def source_recall(logits: Tensor, sources: Sequence[Sequence[int]]) -> list[float]:
    """For each clip the share of its k sources among the k highest logits `[B, sources]`; NaN without any."""
    shares = []
    for row, truth in zip(logits, sources, strict=True):
        named = set(row.topk(len(truth)).indices.tolist())
        shares.append(len(named & set(truth)) / len(truth) if truth else math.nan)
    return shares


def source_numbers(rows: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> list[list[int]]:
    """Each row's sources by their index in `sources`; none where the classifier was never trained on one of them."""
    numbers = {source: number for number, source in enumerate(sources)}
    return [
        [numbers[source] for source in row["sources"]] if numbers.keys() >= set(row["sources"]) else [] for row in rows
    ]


def build_scorer_clap(embedding_dim: int, vocabulary: int) -> Any:
    """A small `transformers.ClapModel`: HTSAT audio tower over 256 frames x 64 mels, RoBERTa text tower."""
    from transformers import ClapAudioConfig, ClapConfig, ClapModel, ClapTextConfig

    text = ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=80,
        pad_token_id=0,
        projection_dim=embedding_dim,
    )
    audio = ClapAudioConfig(
        spec_size=128,
        num_mel_bins=MEL_BINS,
        patch_size=8,
        patch_stride=[8, 8],
        window_size=4,
        depths=[2, 2],
        num_attention_heads=[2, 4],
        patch_embeds_hidden_size=32,
        hidden_size=64,
        enable_fusion=False,
        projection_dim=embedding_dim,
        drop_path_rate=0.0,
        num_hidden_layers=2,
    )
    return ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=embedding_dim))


def embed_captions(clap: Any, tokens: Tensor) -> Tensor:
    """Token ids `[B, 77]` to the scorer's text embeddings `[B, D]` of length 1; padding of all texts is left out."""
    tokens = tokens[:, : int((tokens != 0).sum(dim=1).max())]
    output = clap.get_text_features(input_ids=tokens, attention_mask=(tokens != 0).long())
    return nn.functional.normalize(output.pooler_output, dim=-1)


def embed_clips(clap: Any, mels: Tensor) -> Tensor:
    """Mels `[B, 256, 64]` to the scorer's audio embeddings `[B, D]` of length 1."""
    output = clap.get_audio_features(input_features=(mels[:, None] + 2) / 1.5)
    return nn.functional.normalize(output.pooler_output, dim=-1)


def load_classifier(folder: Path = JUDGES) -> tuple[SourceClassifier, list[str]] | None:
    """The source classifier and its sources' names; None where the corpus names no sources."""
    config = read_json(folder / "config.json")
    if not config["sources"]:
        return None
    classifier = SourceClassifier(config["channels"], config["embedding_dim"], len(config["sources"]))
    classifier.load_state_dict(load_file(folder / "classifier.safetensors"))
    return classifier.eval().requires_grad_(False), config["sources"]
