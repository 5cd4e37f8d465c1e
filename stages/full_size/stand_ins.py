"""Every file that the full preset reads, in the published formats and sizes, with random weights.

Command: `python -m stages.full_size.stand_ins` writes them to `weights/` of the working folder. `bind-an-audio
rehearse` runs it as a process of its own, so that its memory is free again before the first stage.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from stages.formats.files import read_json, write_json, write_text
from stages.params.models import GeneratorOptions
from stages.params.schema import load_params
from stages.plumbing.running import run
from stages.published.make_an_audio import TEXT
from stages.synthesis.bigvgan import BigVGAN
from stages.towers import imagebind as ib
from stages.towers.clap import SPECIAL_TOKENS, TextTower, word_pieces
from stages.towers.laion_clap import CHECKPOINT_FOLDER, CHECKPOINTS, build_laion_clap
from stages.towers.roberta import TOKENIZER_FOLDER

SHAPES = Path(__file__).with_name("full_shapes.json")  # of Make-An-Audio's U-Net and VAE, by their published names
CONTEXT_DIM = 1024
BERT_BASE = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
ROBERTA_BASE = {**BERT_BASE, "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
HTSAT_TINY = 96
BIGVGAN = GeneratorOptions(
    num_mels=80,
    upsample_initial_channel=1536,
    upsample_rates=[4, 4, 2, 2, 2, 2],
    upsample_kernel_sizes=[8, 8, 4, 4, 4, 4],
    resblock_kernel_sizes=[3, 7, 11],
    resblock_dilation_sizes=[[1, 3, 5]] * 3,
)


def main() -> None:
    """Write the files; ImageBind's sizes are those of params.yaml."""
    folder = Path("weights")
    write_what_conditions(folder)
    for name in (CHECKPOINT_FOLDER, TOKENIZER_FOLDER):
        (folder / name).mkdir()
    # As LAION-CLAP's training leaves it: names of a distributed run, its epoch beside them.
    clap = {f"module.{name}": value for name, value in build_laion_clap(HTSAT_TINY, ROBERTA_BASE).state_dict().items()}
    torch.save({"epoch": 0, "state_dict": clap}, folder / CHECKPOINT_FOLDER / CHECKPOINTS[0])
    write_roberta_tokenizer(folder / TOKENIZER_FOLDER)


def write_what_conditions(folder: Path) -> None:
    """Write what clips are made by: all but LAION-CLAP, which only scores them."""
    torch.manual_seed(0)
    for name in ("bert-base-uncased", "bigvgan"):
        (folder / name).mkdir(parents=True)
    write_make_an_audio(folder / "maa1_full.ckpt")
    write_bigvgan(folder / "bigvgan")
    write_imagebind(folder / "imagebind_huge.pth")
    words = [word for word in word_pieces(["a dog barks three times"]) if word not in SPECIAL_TOKENS]
    words = [*SPECIAL_TOKENS, *words]
    words += [f"[unused{number}]" for number in range(BERT_BASE["vocab_size"] - len(words))]
    write_text(folder / "bert-base-uncased/vocab.txt", "".join(f"{word}\n" for word in words))


def write_make_an_audio(path: Path) -> None:
    """Write a Lightning-like checkpoint of U-Net, VAE and text tower, as `maa1_full.ckpt` is laid out."""
    with torch.device("meta"):
        text = TextTower(BERT_BASE, CONTEXT_DIM).state_dict()
    state = {name: random_weight(name, shape) for name, shape in read_json(SHAPES).items()}
    state |= {TEXT + name: random_weight(name, list(value.shape)) for name, value in text.items()}
    state["scale_factor"] = torch.tensor(0.3)
    torch.save({"epoch": 0, "global_step": 0, "state_dict": state}, path)


def write_bigvgan(folder: Path) -> None:
    """Write `args.yml` and `best_netG.pt`, its convolutions under weight normalisation."""
    import yaml

    write_text(folder / "args.yml", yaml.safe_dump({**BIGVGAN.model_dump(), "sampling_rate": 16_000, "hop_size": 256}))
    with torch.device("meta"):
        state = BigVGAN(BIGVGAN).state_dict()
    published = {}
    for name, value in state.items():
        if value.dim() == 3:
            published[f"{name}_v"] = random_weight(name, list(value.shape))
            published[f"{name}_g"] = torch.full((len(value), 1, 1), 0.5)
        else:
            published[name] = torch.zeros(value.shape)
    torch.save({"generator": published}, folder / "best_netG.pt")


def write_imagebind(path: Path) -> None:
    """Write text, vision and audio towers; what is no weight, such as the text's mask, stays as it is built."""
    encoders = load_params().encoders
    assert encoders.source == "pretrained"
    with ib.WithoutMemory():
        towers = dict(ib.build_imagebind(encoders.imagebind, ("text", "vision")).state_dict())
        towers |= ib.build_imagebind(encoders.imagebind, ("audio",), published=True).state_dict()
    drawn = {name: random_weight(name, list(value.shape)) for name, value in towers.items() if value.is_meta}
    torch.save({name: drawn.get(name, value) for name, value in towers.items()}, path)


def write_roberta_tokenizer(folder: Path) -> None:
    """Write `vocab.json` and `merges.txt` of pieces that read printable ASCII character by character."""
    # RoBERTa's byte-level pieces write a space as this letter.
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *map(chr, range(33, 127)), "Ġ"]
    pieces += [*(f"unused{number}" for number in range(ROBERTA_BASE["vocab_size"] - len(pieces) - 1)), "<mask>"]
    write_json(folder / "vocab.json", {piece: number for number, piece in enumerate(pieces)})
    write_text(folder / "merges.txt", "#version: 0.2\n")


def random_weight(name: str, shape: list[int]) -> Tensor:
    """Small random matrices, scales of 1, biases of 0: networks of any depth give finite numbers."""
    if name.endswith("log_logit_scale"):
        return torch.full(shape, math.log(1 / 0.07))
    if len(shape) < 2:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return torch.empty(shape).normal_(0, 0.02)


if __name__ == "__main__":
    run(main)
