"""`models/experiment_{a,b}/`: weights of an experiment beside the sizes that build it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.experiments.alignment import TokenGenerator
from stages.experiments.fusion import Fusion
from stages.experiments.projection import ContextProjection
from stages.formats.files import read_json, write_json

MODELS = Path("models")


def save_experiment(folder: Path, config: dict[str, Any], last: dict[str, Tensor], best: dict[str, Tensor]) -> None:
    """Write `config.json`, `last.safetensors` and `best.safetensors`."""
    write_json(folder / "config.json", config)
    save_file({name: tensor.contiguous() for name, tensor in last.items()}, folder / "last.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, folder / "best.safetensors")


def build_a(config: dict[str, Any], unet: nn.Module) -> nn.ModuleDict:
    """Experiment A's trained parts: fusion, projection and its own U-Net."""
    projection = ContextProjection(
        config["embedding_dim"], config["context_dim"], config["context_tokens"], config["length"]
    )
    return nn.ModuleDict({"fusion": Fusion(config["fusion"]), "projection": projection, "unet": unet})


def build_b(config: dict[str, Any], mean_tokens: Tensor) -> nn.ModuleDict:
    """Experiment B's trained parts: fusion and token generator; `mean_tokens` `[T, C]` is also among its weights."""
    generator = TokenGenerator(config["embedding_dim"], mean_tokens, config["width"], config["blocks"], config["heads"])
    return nn.ModuleDict({"fusion": Fusion(config["fusion"]), "generator": generator})


def load_a(unet: nn.Module, folder: Path = MODELS / "experiment_a", weights: str = "best") -> nn.ModuleDict:
    """Experiment A as trained; `unet` is built like the backbone's and receives A's weights."""
    network = build_a(read_json(folder / "config.json"), unet)
    network.load_state_dict(load_file(folder / f"{weights}.safetensors"))
    return network.eval().requires_grad_(False)


def load_b(folder: Path = MODELS / "experiment_b", weights: str = "best") -> nn.ModuleDict:
    """Experiment B as trained."""
    state = load_file(folder / f"{weights}.safetensors")
    network = build_b(read_json(folder / "config.json"), state["generator.mean_tokens"])
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def context_a(network: nn.ModuleDict, text: Tensor, image: Tensor) -> Tensor:
    """Embeddings `[B, D]` to experiment A's context `[B, T, C]`."""
    context: Tensor = network["projection"](network["fusion"](text, image))
    return context


def context_b(network: nn.ModuleDict, text: Tensor, image: Tensor) -> Tensor:
    """Embeddings `[B, D]` to experiment B's context `[B, T, C]`."""
    context: Tensor = network["generator"](network["fusion"](text, image))
    return context
