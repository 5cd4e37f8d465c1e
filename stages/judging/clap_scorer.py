"""The CLAP that scores how well a clip fits its caption: one trained here, or LAION-CLAP with published weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.formats.files import read_json
from stages.judging.networks import JUDGES, build_scorer_clap, embed_captions, embed_clips, judge_mels
from stages.plumbing.device import device
from stages.towers.clap import Tokenizer
from stages.towers.laion_clap import (
    CHECKPOINT_FOLDER,
    CHECKPOINTS,
    EMBEDDING_DIM,
    LaionClap,
    read_laion_clap,
    read_laion_weights,
)
from stages.towers.roberta import TOKENIZER_FOLDER, RobertaTokenizer, copy_roberta_tokenizer
from stages.weights.reading import only_one

BATCH = 16
CLAP, DIRECTIONS = "clap.safetensors", "directions.safetensors"


@dataclass(frozen=True)
class TrainedScorer:
    """The small CLAP of `stages/judges.py`; embeddings are of length 1 and on the CPU."""

    clap: Any
    tokenizer: Tokenizer

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions to embeddings `[B, D]`."""
        return embed_captions(self.clap, self.tokenizer(captions))

    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Waveforms `[B, samples]` at 16 kHz to embeddings `[B, D]`."""
        return embed_clips(self.clap, judge_mels(waveforms))

    def for_distances(self, embeddings: Tensor) -> Tensor:
        """Audio embeddings `[B, D]` to those that Frechet and kernel distances compare: as they are."""
        return embeddings


@dataclass(frozen=True)
class LaionScorer:
    """LAION-CLAP; embeddings are of length 1 and on the CPU.

    `directions` `[512, K]`, K at most 64, are those in which real training clips vary most.
    """

    clap: LaionClap
    tokenizer: RobertaTokenizer
    directions: Tensor

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions to embeddings `[B, 512]`."""
        parts = self.tokenizer(captions).split(BATCH)
        return torch.cat([self.clap.embed_texts(part.to(device())).cpu() for part in parts])

    @torch.no_grad()
    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Waveforms `[B, samples]` at 16 kHz to embeddings `[B, 512]`."""
        return torch.cat([self.clap.embed_audio(part.to(device())).cpu() for part in waveforms.split(BATCH)])

    def for_distances(self, embeddings: Tensor) -> Tensor:
        """Audio embeddings `[B, 512]` to their coordinates `[B, K]` along `directions`."""
        return embeddings @ self.directions


ClapScorer = TrainedScorer | LaionScorer


def convert_scorer(folder: Path, weights: str | Path, waveforms: Iterable[Tensor], dimensions: int) -> None:
    """Write LAION-CLAP from the published files in `weights` into `folder`, with the directions for distances.

    `waveforms` are the real training clips in pieces `[B, samples]`. Raises ValueError for files that are missing or
    broken.
    """
    path = only_one(Path(weights) / CHECKPOINT_FOLDER, CHECKPOINTS)
    clap = read_laion_clap(read_laion_weights(path), path)
    words = clap.model.text_branch.config.vocab_size
    copy_roberta_tokenizer(Path(weights) / TOKENIZER_FOLDER, folder, words)
    save_file({name: value.contiguous() for name, value in clap.model.state_dict().items()}, folder / CLAP)
    scorer = LaionScorer(clap.to(device()), RobertaTokenizer(folder), torch.eye(EMBEDDING_DIM))
    directions = principal_directions(torch.cat([scorer.embed_audio(part) for part in waveforms]), dimensions)
    save_file({"directions": directions}, folder / DIRECTIONS)


def principal_directions(embeddings: Tensor, most: int) -> Tensor:
    """The orthonormal directions `[D, K]` in which embeddings `[N, D]` vary most, K at most `most` and N - 1.

    Principal component analysis; the sign of each makes its largest coordinate positive.
    """
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[: max(1, min(most, len(embeddings) - 1))]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    signed: Tensor = directions * largest.sign()
    return signed.T.float().contiguous()


def load_scorer(folder: Path = JUDGES) -> ClapScorer:
    """The scorer that `stages/judges.py` left, frozen."""
    config = read_json(folder / "config.json")
    if "clap_embedding_dim" not in config:
        clap = read_laion_clap(load_file(folder / CLAP), folder / CLAP).to(device())
        return LaionScorer(clap, RobertaTokenizer(folder), load_file(folder / DIRECTIONS)["directions"])
    tokenizer = Tokenizer(folder / "vocab.txt")
    trained = build_scorer_clap(config["clap_embedding_dim"], tokenizer.vocabulary)
    trained.load_state_dict(load_file(folder / CLAP))
    return TrainedScorer(trained.eval().requires_grad_(False), tokenizer)
