"""`models/encoders/`: weights, vocabulary and sizes of ImageBind and CLAP, enough to build both again."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.plumbing.files import read_json, write_json
from stages.plumbing.model_params import ClapSize, ImageBindSize
from stages.towers.clap import Clap, Tokenizer
from stages.towers.imagebind import build_imagebind

ENCODERS = Path("models/encoders")


def save_encoders(
    folder: Path,
    imagebind: dict[str, Tensor],
    imagebind_size: ImageBindSize,
    clap: dict[str, Tensor],
    clap_size: ClapSize,
) -> None:
    """Write both towers' weights and sizes; `vocab.txt` is written beforehand, with its tokenizer."""
    save_file(imagebind, folder / "imagebind.safetensors")
    save_file(clap, folder / "clap.safetensors")
    write_json(folder / "config.json", {"imagebind": imagebind_size.model_dump(), "clap": clap_size.model_dump()})


def load_imagebind(folder: Path = ENCODERS) -> nn.Module:
    """ImageBind with its weights, frozen, for evaluation."""
    model = build_imagebind(ImageBindSize.model_validate(read_json(folder / "config.json")["imagebind"]))
    model.load_state_dict(load_file(folder / "imagebind.safetensors"))
    return model.eval().requires_grad_(False)


def load_clap(folder: Path = ENCODERS) -> tuple[Clap, Tokenizer]:
    """CLAP with its weights, frozen, for evaluation, and its tokenizer."""
    tokenizer = Tokenizer(folder / "vocab.txt")
    clap = Clap(ClapSize.model_validate(read_json(folder / "config.json")["clap"]), tokenizer.vocabulary)
    clap.load_state_dict(load_file(folder / "clap.safetensors"))
    return clap.eval().requires_grad_(False), tokenizer
