"""CLAP as Make-An-Audio uses it (MS-CLAP 2022, Elizalde et al.): BERT and a projection, a PANNs-like audio tower.

The U-Net's context is the projected hidden state of all 77 tokens, computed without an attention mask, so that the
padding's features carry meaning too. Contrastive training compares the first token's feature with the audio's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.params.models import ClapSize
from stages.weights.fitting import shape_of

TEXT_TOKENS = 77
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TextEncoder(Protocol):
    """What later stages ask of a CLAP, trained or published: token features as the U-Net's context."""

    def to(self, device: str) -> Any:
        """Move the network."""

    def token_features(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to `[B, 77, D]`."""


class TextTokenizer(Protocol):
    """What reads its captions: always 77 tokens, those after the text are `padding`."""

    padding: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids `[B, 77]`."""


class Projection(nn.Module):
    """MS-CLAP's projection: LayerNorm(e1 + dropout(W2 gelu(e1))), e1 = W1 x; `[..., D_in]` to `[..., D]`."""

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, embedding_dim, bias=False)
        self.linear2 = nn.Linear(embedding_dim, embedding_dim, bias=False)
        self.layer_norm = nn.LayerNorm(embedding_dim)
        self.drop = nn.Dropout(0.1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project `[..., D_in]` to `[..., D]`."""
        first = self.linear1(hidden)
        projected: Tensor = self.layer_norm(first + self.drop(self.linear2(nn.functional.gelu(first))))
        return projected


class TextTower(nn.Module):
    """BERT and the projection; weights are named as in Make-An-Audio's `cond_stage_model.caption_encoder`."""

    def __init__(self, config: dict[str, Any], embedding_dim: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.base = BertModel(BertConfig(**config))
        self.projection = Projection(config["hidden_size"], embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to token features `[B, 77, D]`, every position attended to."""
        features: Tensor = self.projection(self.base(input_ids=tokens).last_hidden_state)
        return features


class PublishedText(nn.Module):
    """A published text tower alone, where the rest of its CLAP is not needed; `tower` maps `[B, 77]` to features."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def token_features(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to the U-Net's context `[B, 77, D]`."""
        features: Tensor = self.tower(tokens)
        return features


def bert_config(weights: Mapping[str, Tensor], origin: str | Path, heads: int | None = None) -> dict[str, Any]:
    """What BERT (or RoBERTa) has to be built with, read off names and shapes without a prefix.

    Weights do not tell the number of heads; without `heads` they are of 64 dimensions, as in all published sizes.
    """
    layers = {int(match[1]) for name in weights if (match := re.match(r"encoder\.layer\.(\d+)\.", name))}
    side = partial(_side, weights, origin)
    words, width = side("embeddings.word_embeddings.weight")
    return {
        "vocab_size": words,
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads or max(1, width // 64),
        "intermediate_size": side("encoder.layer.0.intermediate.dense.weight")[0],
        "max_position_embeddings": side("embeddings.position_embeddings.weight")[0],
        "type_vocab_size": side("embeddings.token_type_embeddings.weight")[0],
    }


def _side(weights: Mapping[str, Tensor], origin: str | Path, name: str) -> tuple[int, ...]:
    return shape_of(weights, name, 2, origin, "text tower of this kind")


class AudioTower(nn.Module):
    """Convolutional blocks, mean over frequency, mean + max over time (PANNs' Cnn6, Kong et al. 2020), small."""

    def __init__(self, channels: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in zip([1, *channels], channels, strict=False):
            blocks += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            blocks += [nn.AvgPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.projection = Projection(channels[-1], embedding_dim)

    def forward(self, mel: Tensor) -> Tensor:
        """Log mels `[B, 80, frames]` to embeddings `[B, D]`."""
        hidden = self.blocks((mel[:, None] + 2.5) / 1.5).mean(dim=2)
        embedding: Tensor = self.projection(hidden.mean(dim=2) + hidden.amax(dim=2))
        return embedding


class Clap(nn.Module):
    """Both towers and the learned temperature of their similarities."""

    def __init__(self, size: ClapSize, vocabulary: int) -> None:
        super().__init__()
        config = {
            "vocab_size": vocabulary,
            "hidden_size": size.text.width,
            "num_hidden_layers": size.text.blocks,
            "num_attention_heads": size.text.heads,
            "intermediate_size": 4 * size.text.width,
            "max_position_embeddings": TEXT_TOKENS,
        }
        self.caption_encoder = TextTower(config, size.embedding_dim)
        self.audio_encoder = AudioTower(size.audio_channels, size.embedding_dim)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.6))

    def token_features(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to the U-Net's context `[B, 77, D]`."""
        features: Tensor = self.caption_encoder(tokens)
        return features

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, 77]` to embeddings `[B, D]` of length 1."""
        return nn.functional.normalize(self.token_features(tokens)[:, 0], dim=-1)

    def embed_audio(self, mel: Tensor) -> Tensor:
        """Log mels `[B, 80, frames]` to embeddings `[B, D]` of length 1."""
        return nn.functional.normalize(self.audio_encoder(mel), dim=-1)

    def logit_scale(self) -> Tensor:
        """The learned scale of the similarities, at most 100."""
        return self.log_logit_scale.exp().clamp(max=100.0)


def word_pieces(captions: Iterable[str]) -> list[str]:
    """A WordPiece vocabulary: special tokens, every ASCII character alone and inside a word, the captions' words.

    Words that no caption had fall apart into characters, so any English text can be read.
    """
    from transformers.models.bert.tokenization_bert_legacy import BasicTokenizer

    basic = BasicTokenizer(do_lower_case=True)
    words = {word for caption in captions for word in basic.tokenize(caption)}
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    inside = [f"##{character}" for character in characters]
    return [*SPECIAL_TOKENS, *characters, *inside, *sorted(words - set(characters))]


def write_vocabulary(path: Path, pieces: Sequence[str]) -> None:
    """Write one piece a line, BERT's `vocab.txt`."""
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")


class Tokenizer:
    """BERT's tokenizer over a `vocab.txt`, always 77 tokens."""

    def __init__(self, vocabulary: Path) -> None:
        from transformers import BertTokenizer

        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
        self.vocabulary = len(pieces)
        self.padding = 0
        self._bert = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, do_lower_case=True)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids `[B, 77]`, padded with 0."""
        encoded = self._bert(list(texts), padding="max_length", truncation=True, max_length=TEXT_TOKENS)
        return torch.tensor(encoded["input_ids"], dtype=torch.long)


def token_counts(tokens: Tensor, padding: int = 0) -> Tensor:
    """How many of `[B, 77]` token ids are no padding, `[B]`."""
    return (tokens != padding).sum(dim=1)
