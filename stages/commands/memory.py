"""`bind-an-audio memory`: what the full size takes of a GPU, by counting parameters and measuring activations.

Parameters, gradients and optimiser states are counted. Activations are measured on the CPU by torch's profiler as the
most bytes that are allocated at once: in one update of experiment A's second stage, and in vocoding one second.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stages.commands.full_weights import BERT_BASE, BIGVGAN, CONTEXT_DIM
from stages.experiments.store import build_a, build_b, context_a
from stages.plumbing.files import read_json
from stages.plumbing.params import load_params
from stages.pretrained.fitting import without_prefix
from stages.pretrained.make_an_audio import UNET, VAE
from stages.pretrained.stand_ins import SHAPES
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.make_an_audio import unet_config
from stages.towers import imagebind as ib
from stages.towers.clap import TextTower
from stages.training.diffusion import random_diffusion_loss

HEADS, COLUMNS, TOKENS, EMBEDDING_DIM = 8, 78, 77, 1024
B_SIZES = {"width", "blocks", "heads"}
MODES = [(precision, kept) for precision in ("float32", "bfloat16") for kept in (False, True)]
# AdamW's two moments in bytes a parameter; in 8 bits with a scale for each block of 256.
OPTIMIZERS = {"adamw": 8.0, "adamw_8bit": 2.03}
A = {
    "fusion": "mean",
    "embedding_dim": EMBEDDING_DIM,
    "context_dim": CONTEXT_DIM,
    "context_tokens": 1,
    "length": TOKENS,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--batch-size", type=int, default=4, help="of experiment A's training (default: 4)")
    parser.add_argument("--count", action="store_true", help="only count parameters, which takes seconds")


def main(arguments: argparse.Namespace) -> None:
    """Print parameters by component, then what training and vocoding take."""
    counts = parameters()
    print("| component | parameters | float32, GB |\n| --- | ---: | ---: |")
    for name, count in counts.items():
        print(f"| {name} | {count:,} | {4 * count / 1e9:.2f} |")
    if arguments.count:
        return
    print("\n| A, stage 2 | weights and gradients | AdamW | in 8 bits | activations | in all, GB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for precision, checkpointing in MODES:
        trained = counts["U-Net"] + counts["experiment A's projection"]
        weights, activations = 8 * trained / 1e9, training_activations(arguments.batch_size, precision, checkpointing)
        full, small = (trained * size / 1e9 for size in OPTIMIZERS.values())
        name = precision + (", gradient checkpointing" if checkpointing else "")
        cells = (weights, full, small, activations, weights + full + activations)
        print(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)
    print(f"\nVocoding takes {vocoding_activations():.2f} GB of activations a second of sound.")


def parameters() -> dict[str, int]:
    """Parameters by component at the published sizes; nothing is allocated."""
    params = load_params("presets/full.yaml")
    assert params.encoders.source == "pretrained"
    counts = {}
    for name in ib.MODALITIES:
        with ib.WithoutMemory():
            counts[f"ImageBind-huge, {name}"] = count(ib.build_imagebind(params.encoders.imagebind, (name,), 10, 204))
    shapes = read_json(SHAPES)
    b = {"fusion": "mean", "embedding_dim": EMBEDDING_DIM, **params.train_b.model_dump(include=B_SIZES)}
    with torch.device("meta"):
        counts["Make-An-Audio's text tower"] = count(TextTower(BERT_BASE, CONTEXT_DIM))
        for part, prefix in (("U-Net", UNET), ("VAE", VAE)):
            counts[part] = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))
        counts["BigVGAN"] = count(BigVGAN(BIGVGAN))
        counts["experiment A's projection"] = count(build_a(A, nn.Identity()))
        counts["experiment B's generator"] = count(build_b(b, torch.empty(TOKENS, CONTEXT_DIM)))
    return {**counts, "in all": sum(counts.values())}


def training_activations(batch_size: int, precision: str, checkpointing: bool) -> float:
    """Most gigabytes at once, beside weights and gradients, in one update of A's second stage."""
    from diffusers import UNet2DConditionModel

    published = {name: torch.empty(shape, device="meta") for name, shape in read_json(SHAPES).items()}
    unet: Any = UNet2DConditionModel(**unet_config(without_prefix(published, UNET), HEADS, SHAPES))
    if checkpointing:
        unet.enable_gradient_checkpointing()
    network = build_a(A, unet).train()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    text, image = torch.randn(2, batch_size, EMBEDDING_DIM)
    latents = torch.randn(batch_size, unet.config.in_channels, 10, COLUMNS)

    def update() -> None:
        context = context_a(network, text, image)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss: Tensor = random_diffusion_loss(unet, latents, context, "plain")
        loss.backward()

    return peak_bytes(update) / 1e9


@torch.no_grad()
def vocoding_activations() -> float:
    """Most gigabytes at once, beside the weights, in vocoding one second of sound."""
    vocoder, mel = BigVGAN(BIGVGAN).eval(), torch.zeros(1, BIGVGAN.num_mels, 62)
    return peak_bytes(lambda: vocoder(mel)) / 1e9


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that `run` holds at once of what it allocates itself, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = most = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def count(network: nn.Module) -> int:
    """Trainable and frozen parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
