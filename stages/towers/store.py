"""`models/encoders/`: weights, vocabulary and sizes of ImageBind and CLAP, enough to build both again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.formats.files import read_json, write_json
from stages.params.models import ClapSize, ImageBindSize
from stages.towers import imagebind as ib
from stages.towers.clap import Clap, TextTower, Tokenizer
from stages.towers.roberta import RobertaTokenizer, RobertaTower

ENCODERS = Path("models/encoders")
CONDITIONING = ("text", "vision")
TextNetwork = Clap | TextTower | RobertaTower


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
    """ImageBind with its weights, frozen, for evaluation; of a published one only the text and vision towers."""
    return _load_imagebind(folder, "imagebind", CONDITIONING if _has_published_audio(folder) else ib.MODALITIES)


def load_imagebind_audio(folder: Path = ENCODERS) -> nn.Module:
    """What has ImageBind's audio tower, frozen: the whole of one of ours, of a published one that tower alone."""
    if not _has_published_audio(folder):
        return load_imagebind(folder)
    return _load_imagebind(folder, "imagebind_audio", ("audio",), published=True)


def _has_published_audio(folder: Path) -> bool:
    return (folder / "imagebind_audio.safetensors").exists()


def _load_imagebind(folder: Path, name: str, modalities: Sequence[str], published: bool = False) -> nn.Module:
    size = ImageBindSize.model_validate(read_json(folder / "config.json")["imagebind"])
    with ib.WithoutMemory():
        model = ib.build_imagebind(size, modalities, published)
    model.load_state_dict(load_file(folder / f"{name}.safetensors"), assign=True)
    return model.eval().requires_grad_(False)


def load_clap(folder: Path = ENCODERS) -> tuple[TextNetwork, Tokenizer]:
    """What gives the U-Net's context, trained or published, frozen, for evaluation, and its tokenizer."""
    config = read_json(folder / "config.json")
    if "clap" in config:
        return load_trained_clap(folder)
    if "laion_clap" in config:
        tower: TextTower | RobertaTower = RobertaTower(config["laion_clap"])
        tokenizer: Tokenizer = RobertaTokenizer(folder)
    else:
        tower = TextTower(config["make_an_audio"]["bert"], config["make_an_audio"]["embedding_dim"])
        tokenizer = Tokenizer(folder / "vocab.txt")
    tower.load_state_dict(load_file(folder / "clap.safetensors"))
    return tower.eval().requires_grad_(False), tokenizer


def load_trained_clap(folder: Path = ENCODERS) -> tuple[Clap, Tokenizer]:
    """Our own CLAP, both towers, frozen, for evaluation, and its tokenizer."""
    size = ClapSize.model_validate(read_json(folder / "config.json")["clap"])
    tokenizer = Tokenizer(folder / "vocab.txt", size.tokens)
    clap = Clap(size, tokenizer.vocabulary)
    clap.load_state_dict(load_file(folder / "clap.safetensors"))
    return clap.eval().requires_grad_(False), tokenizer
