"""Files in the published formats and at the published sizes, with random weights: to rehearse without the real ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stages.formats.files import read_json, write_json, write_text
from stages.published.make_an_audio import TEXT

SHAPES = Path(__file__).with_name("full_shapes.json")
BERT_WORDS, ROBERTA_WORDS = 30_522, 50_265


def write_make_an_audio(path: Path, text: Mapping[str, Tensor], shapes: Mapping[str, list[int]] | None = None) -> None:
    """Write a Lightning-like checkpoint of U-Net, VAE and text tower; `text` gives the last one's names and shapes.

    `shapes` are the other weights' by their published names; left out, those of `maa1_full.ckpt`.
    """
    named = read_json(SHAPES) if shapes is None else shapes
    state = {name: random_weight(name, shape) for name, shape in named.items()}
    state |= {TEXT + name: random_weight(name, list(value.shape)) for name, value in text.items()}
    state["scale_factor"] = torch.tensor(0.3)
    torch.save({"epoch": 0, "global_step": 0, "state_dict": state}, path)


def write_bigvgan(folder: Path, options: Mapping[str, object], state: Mapping[str, Tensor]) -> None:
    """Write `args.yml` and `best_netG.pt`, its convolutions under weight normalisation; `state` gives names, shapes."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "args.yml", yaml.safe_dump({**options, "sampling_rate": 16_000, "hop_size": 256}))
    published = {}
    for name, value in state.items():
        if value.dim() == 3:
            published[f"{name}_v"] = random_weight(name, list(value.shape))
            published[f"{name}_g"] = torch.full((len(value), 1, 1), 0.5)
        else:
            published[name] = torch.zeros(value.shape)
    torch.save({"generator": published}, folder / "best_netG.pt")


def write_imagebind(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write `imagebind_huge.pth`; `state` gives names, shapes and what is no weight, such as the text's mask."""
    torch.save(
        {name: random_weight(name, list(value.shape)) if value.is_meta else value for name, value in state.items()},
        path,
    )


def write_vocabulary(path: Path, words: list[str], size: int = BERT_WORDS) -> None:
    """Write a `vocab.txt` of `size` words, filled up with unused ones."""
    unused = [f"[unused{number}]" for number in range(size - len(words))]
    write_text(path, "".join(f"{word}\n" for word in [*words, *unused]))


def write_laion_clap(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a checkpoint as LAION-CLAP's training leaves it: names of a distributed run, its epoch beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 0, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)


def write_roberta_tokenizer(folder: Path, size: int = ROBERTA_WORDS) -> None:
    """Write `vocab.json` and `merges.txt` of `size` pieces that read printable ASCII character by character."""
    folder.mkdir(parents=True, exist_ok=True)
    # RoBERTa's byte-level pieces write a space as this letter.
    characters = [*map(chr, range(33, 127)), "Ġ"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *characters]
    pieces += [*(f"unused{number}" for number in range(size - len(pieces) - 1)), "<mask>"]
    write_json(folder / "vocab.json", {piece: number for number, piece in enumerate(pieces)})
    write_text(folder / "merges.txt", "#version: 0.2\n")


def random_weight(name: str, shape: list[int]) -> Tensor:
    """Small random matrices, scales of 1, biases of 0: networks of any depth give finite numbers."""
    if name.endswith("log_logit_scale"):
        return torch.full(shape, math.log(1 / 0.07))
    if len(shape) < 2:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return torch.empty(shape).normal_(0, 0.02)
