"""Published towers as `models/encoders/` holds them: ImageBind-huge, Make-An-Audio's text tower, LAION-CLAP's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from stages.formats.files import write_json
from stages.params.models import ImageBindSize
from stages.published.make_an_audio import read_make_an_audio
from stages.towers import imagebind as ib
from stages.towers.clap import TextTower, Tokenizer, bert_config
from stages.towers.laion_clap import CHECKPOINT_FOLDER, CHECKPOINTS, read_laion_weights, read_roberta_tower
from stages.towers.roberta import TOKENIZER_FOLDER, copy_roberta_tokenizer
from stages.towers.store import CONDITIONING
from stages.weights.fitting import fitted, load_exactly, shape_of, without_prefix
from stages.weights.reading import only_one, read_weights

IMAGEBIND_CHECKPOINT = "imagebind_huge.pth"
VOCABULARY = "bert-base-uncased/vocab.txt"
MODALITIES = (*ib.MODALITIES, "depth", "thermal", "imu")


def convert_encoders(folder: Path, weights: str | Path, size: ImageBindSize, clap: str) -> dict[str, int]:
    """Write published towers from the files in `weights` into `folder`; returns their numbers of parameters.

    ImageBind's audio tower, which conditions nothing, gets a file of its own. `clap` is `make_an_audio` or
    `laion_clap`. Raises ValueError for files that are missing, broken or of other sizes.
    """
    weights = Path(weights)
    counts = {}
    published = read_weights(weights / IMAGEBIND_CHECKPOINT)
    for name, modalities in (("imagebind", CONDITIONING), ("imagebind_audio", ("audio",))):
        towers = imagebind_weights(published, size, modalities, weights / IMAGEBIND_CHECKPOINT)
        save_file({key: value.contiguous() for key, value in towers.items()}, folder / f"{name}.safetensors")
        counts[f"{name}_parameters"] = sum(value.numel() for value in towers.values())
    del published
    text, config = _convert_text(folder, weights, clap)
    save_file(text.state_dict(), folder / "clap.safetensors")
    counts["clap_text_parameters"] = sum(parameter.numel() for parameter in text.parameters())
    write_json(folder / "config.json", {"imagebind": size.model_dump(), clap: config})
    return counts


def _convert_text(folder: Path, weights: Path, clap: str) -> tuple[nn.Module, dict[str, Any]]:
    """The text tower whose features steer, and what builds it again; its vocabulary is copied into `folder`."""
    if clap == "laion_clap":
        path = only_one(weights / CHECKPOINT_FOLDER, CHECKPOINTS)
        tower, config = read_roberta_tower(read_laion_weights(path), path)
        copy_roberta_tokenizer(weights / TOKENIZER_FOLDER, folder, config["vocab_size"])
        return tower, config
    vocabulary = weights / VOCABULARY
    if not vocabulary.is_file():
        raise ValueError(f"{vocabulary}: no such file; `bind-an-audio weights` says where it comes from")
    checkpoint = read_make_an_audio(weights)
    bert = read_text_tower(checkpoint.text, checkpoint.path)
    words, known = Tokenizer(vocabulary).vocabulary, bert.base.config.vocab_size
    if words != known:
        raise ValueError(f"{vocabulary}: {words} words where {checkpoint.path} has {known}; take bert-base-uncased's")
    shutil.copyfile(vocabulary, folder / "vocab.txt")
    sizes = {
        "bert": bert_config(without_prefix(checkpoint.text, "base."), checkpoint.path),
        "embedding_dim": len(bert.projection.layer_norm.weight),
    }
    return bert, sizes


def read_text_tower(weights: Mapping[str, Tensor], origin: str | Path, heads: int | None = None) -> TextTower:
    """Make-An-Audio's text tower of the sizes that the weights have, with the weights, in evaluation mode.

    `weights` go by the names below `cond_stage_model.caption_encoder.`, without `heads` attention has BERT's own 64
    dimensions a head. Raises ValueError, naming `origin`, for weights that are missing, unknown or of another shape.
    """
    config = bert_config(without_prefix(weights, "base."), origin, heads)
    width = shape_of(weights, "projection.linear1.weight", 2, origin, "text tower of MS-CLAP's kind")[0]
    tower = TextTower(config, width)
    load_exactly(tower, weights, origin)
    return tower.eval()


def imagebind_weights(
    weights: Mapping[str, Tensor], size: ImageBindSize, modalities: Sequence[str], origin: str | Path
) -> dict[str, Tensor]:
    """Of a published checkpoint the weights of some towers, each in its place in a model of `size`.

    The other towers' weights are left out; anything else that is unknown, missing or of another shape is a ValueError.
    """
    with ib.WithoutMemory():
        model = ib.build_imagebind(size, modalities, published=True)
    others = tuple(f"{part}.{name}." for part in ib.PARTS for name in MODALITIES if name not in modalities)
    return fitted(model, {name: value for name, value in weights.items() if not name.startswith(others)}, origin)
