"""CLAP as Make-An-Audio uses it (MS-CLAP 2022, Elizalde et al.): BERT and a projection, and a small audio tower.

The U-Net's context is the projected hidden state of all T tokens (77 in the published one), computed without an
attention mask, so that the padding's features carry meaning too. Contrastive training compares the first token's
feature with the audio's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.params.models import ClapSize
from stages.weights.fitting import shape_of

TEXT_TOKENS = 77
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Projection(nn.Module):
    """MS-CLAP's projection: LayerNorm(e1 + W2 gelu(e1)), e1 = W1 x; `[..., D_in]` to `[..., D]`.

    Its dropout is left out: published weights are not trained on here, and ours see a clip only a few times.
    """

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, embedding_dim, bias=False)
        self.linear2 = nn.Linear(embedding_dim, embedding_dim, bias=False)
        self.layer_norm = nn.LayerNorm(embedding_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Project `[..., D_in]` to `[..., D]`."""
        first = self.linear1(hidden)
        projected: Tensor = self.layer_norm(first + self.linear2(nn.functional.gelu(first)))
        return projected


class TextTower(nn.Module):
    """BERT and the projection; weights are named as in Make-An-Audio's `cond_stage_model.caption_encoder`."""

    def __init__(self, config: dict[str, Any], embedding_dim: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.base = BertModel(BertConfig(**config))
        self.projection = Projection(config["hidden_size"], embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, T]` to token features `[B, T, D]`, every position attended to."""
        features: Tensor = self.projection(self.base(input_ids=tokens).last_hidden_state)
        return features

    token_features = forward  # as `Clap` has it, where this is all of a published CLAP


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
    """Patches of 4 bands x 4 frames, two convolutions, then a time axis whose features still know their pitch.

    PANNs' Cnn6 (Kong et al. 2020) averages over frequency and pools over time, which large training makes up for.
    Small, it hears neither size (absolute pitch) nor envelope and order (what comes first): so bands are not averaged
    but mixed, and beside mean and maximum stands the mean weighted by a ramp from -1 to 1 over time.
    """

    def __init__(self, channels: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        first, second, third = channels
        self.blocks = nn.Sequential(
            *_convolution(1, first, kernel=4, stride=(4, 4), padding=0),
            *_convolution(first, second, kernel=3, stride=(2, 2), padding=1),
            *_convolution(second, third, kernel=3, stride=(2, 1), padding=1),
        )
        self.mix = nn.Conv1d(5 * third, third, 5, padding=2)
        self.projection = Projection(3 * third, embedding_dim)

    def forward(self, mel: Tensor) -> Tensor:
        """Log mels `[B, 80, frames]` to embeddings `[B, D]`."""
        blocks = self.blocks((mel[:, None] + 2.5) / 1.5)
        hidden = torch.relu(self.mix(blocks.flatten(1, 2)))
        ramp = torch.linspace(-1, 1, hidden.shape[2], device=hidden.device)
        pooled = torch.cat([hidden.mean(dim=2), hidden.amax(dim=2), (hidden * ramp).mean(dim=2)], dim=1)
        embedding: Tensor = self.projection(pooled)
        return embedding


def _convolution(inputs: int, outputs: int, kernel: int, stride: tuple[int, int], padding: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


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
            "max_position_embeddings": size.tokens,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
        self.caption_encoder = TextTower(config, size.embedding_dim)
        self.audio_encoder = AudioTower(size.audio_channels, size.embedding_dim)
        self.log_logit_scale = nn.Parameter(torch.tensor(2.6))

    def token_features(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, T]` to the U-Net's context `[B, T, D]`."""
        features: Tensor = self.caption_encoder(tokens)
        return features

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Token ids `[B, T]` to embeddings `[B, D]` of length 1."""
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
    """BERT's tokenizer over a `vocab.txt`, always `tokens` of them: a longer text is cut, a shorter one padded."""

    padding = 0

    def __init__(self, vocabulary: Path, tokens: int = TEXT_TOKENS) -> None:
        from transformers import BertTokenizer

        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
        self.vocabulary, self.tokens = len(pieces), tokens
        self._read = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, do_lower_case=True)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Token ids `[B, tokens]`."""
        encoded = self._read(list(texts), padding="max_length", truncation=True, max_length=self.tokens)
        return torch.tensor(encoded["input_ids"], dtype=torch.long)


def token_counts(tokens: Tensor, padding: int = 0) -> Tensor:
    """How many of `[B, T]` token ids are no padding, `[B]`."""
    return (tokens != padding).sum(dim=1)
