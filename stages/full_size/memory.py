"""`bind-an-audio memory`: what the full size takes of a GPU, by counting parameters and measuring activations.

Parameters, gradients and optimiser states are counted. Activations are measured on the CPU by torch's profiler as the
most bytes that are allocated at once, of random networks of the published sizes: in one update of experiment A's second
stage, in measuring its validation clips, in embedding a batch of pairs, in generating a clip.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from stages.experiments.experiment_a import ExperimentA
from stages.experiments.experiment_b import ExperimentB
from stages.formats.files import read_json
from stages.full_size.stand_ins import BERT_BASE, BIGVGAN, CONTEXT_DIM, SHAPES
from stages.params.schema import load_params
from stages.published.diffusers_names import unet_config, vae_config
from stages.published.make_an_audio import UNET, VAE
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.codec import VOCODED_ON_CARD, Codec
from stages.synthesis.samplers import guided
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import Denoiser
from stages.towers import imagebind as ib
from stages.towers.clap import TextTower
from stages.training.diffusion import PIECE, fixed_diffusion_loss, random_diffusion_loss
from stages.weights.fitting import without_prefix

IMAGEBIND = ("ImageBind-huge, text", "ImageBind-huge, vision")
CODEC = ("VAE", "BigVGAN")
HEADS, COLUMNS, TOKENS, EMBEDDING_DIM = 8, 78, 77, 1024
CLIP_SAMPLES = 2048 * COLUMNS
# What is done, the components that lie on the GPU, most gigabytes at once beside them.
MemoryRow = tuple[str, tuple[str, ...], float]
B_SIZES = {"width", "blocks", "heads"}
MODES = [(precision, kept) for precision in ("float32", "bfloat16") for kept in (False, True)]
# AdamW's two moments in bytes a parameter; in 8 bits with a scale for each block of 256.
OPTIMIZERS = {"adamw": 8.0, "adamw_8bit": 2.03}
FUSED = {"fusion": "mean", "embedding_dim": EMBEDDING_DIM}
A = {**FUSED, "context_dim": CONTEXT_DIM, "context_tokens": 1, "length": TOKENS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--batch-size", type=int, default=4, help="of experiment A's training (default: 4)")
    parser.add_argument(
        "--at-once", type=int, default=32, help="pairs embedded, clips sampled (default: 32, as stages do)"
    )
    parser.add_argument("--count", action="store_true", help="only count parameters, which takes seconds")


def main(arguments: argparse.Namespace) -> None:
    """Print parameters by component, then what training, embedding and generating take."""
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
    print("\n| without gradients | weights | activations | in all, GB |\n| --- | ---: | ---: | ---: |")
    for step in (embedding, generating):
        for name, parts, activations in step(arguments.at_once):
            weights = sum(4 * counts[part] for part in parts) / 1e9
            print(f"| {name} | {weights:.2f} | {activations:.2f} | {weights + activations:.2f} |", flush=True)


def parameters() -> dict[str, int]:
    """Parameters by component at the published sizes; nothing is allocated."""
    params = load_params("presets/full.yaml")
    assert params.encoders.source == "pretrained"
    counts = {}
    for name in ib.MODALITIES:
        with ib.WithoutMemory():
            counts[f"ImageBind-huge, {name}"] = count(
                ib.build_imagebind(params.encoders.imagebind, (name,), published=True)
            )
    shapes = read_json(SHAPES)
    b = {**FUSED, **params.train_b.model_dump(include=B_SIZES)}
    with torch.device("meta"):
        counts["Make-An-Audio's text tower"] = count(TextTower(BERT_BASE, CONTEXT_DIM))
        for part, prefix in (("U-Net", UNET), ("VAE", VAE)):
            counts[part] = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))
        counts["BigVGAN"] = count(BigVGAN(BIGVGAN))
        counts["experiment A's projection"] = count(ExperimentA(A, Denoiser(nn.Identity(), MAKE_AN_AUDIO)))
        counts["experiment B's generator"] = count(ExperimentB(b, torch.empty(TOKENS, CONTEXT_DIM)))
    return {**counts, "in all": sum(counts.values())}


def training_activations(batch_size: int, precision: str, checkpointing: bool) -> float:
    """Most gigabytes at once, beside weights and gradients, in one update of A's second stage."""
    denoiser = full_denoiser()
    if checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    network = ExperimentA(A, denoiser).train()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    text, image = torch.randn(2, batch_size, EMBEDDING_DIM)
    latents = torch.randn(batch_size, denoiser.unet.config.in_channels, 10, COLUMNS)

    def update() -> None:
        context = network.context(text, image)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss: Tensor = random_diffusion_loss(denoiser, latents, context, "plain")
        loss.backward()

    return gigabytes(update)


@torch.no_grad()
def embedding(pairs: int) -> list[MemoryRow]:
    """What embedding `pairs` at once takes."""
    imagebind, text, codec = full_imagebind(), TextTower(BERT_BASE, CONTEXT_DIM).eval(), full_codec()
    images, mels = torch.zeros(pairs, 3, 224, 224, dtype=torch.uint8), torch.randn(pairs, 80, 8 * COLUMNS)
    tokens = torch.ones(pairs, TOKENS, dtype=torch.long)
    most = max(
        gigabytes(lambda: ib.embed_images(imagebind, images)),
        gigabytes(lambda: ib.embed_texts(imagebind, tokens)),
        gigabytes(lambda: text(tokens)),
        gigabytes(lambda: codec.encode(mels)),
    )
    return [(f"embed: {pairs} pairs at once", (*IMAGEBIND, "Make-An-Audio's text tower", *CODEC), most)]


@torch.no_grad()
def generating(clips: int) -> list[MemoryRow]:
    """What measuring validation clips, one clip of 10 s, and `clips` at once take: each the most of its parts."""
    denoiser, codec = full_denoiser().eval(), full_codec()
    rows: list[MemoryRow] = []
    sampling = ("U-Net", *CODEC)
    for name, count, parts in (
        ("generate: one clip of 10 s", 1, (*IMAGEBIND, *sampling)),
        (f"sample: {clips} clips at once", clips, sampling),
    ):
        latents, context = torch.randn(count, 4, 10, COLUMNS), torch.randn(count, TOKENS, CONTEXT_DIM)
        predict = guided(denoiser, context, context[0], 3.0)
        denoising = gigabytes(partial(predict, latents, 500))
        decoding = gigabytes(partial(codec.decode_mel, latents))
        # As many as the codec vocodes at once on a card: more of them take longer and no more memory.
        mels = torch.randn(count, 80, 8 * COLUMNS)[: VOCODED_ON_CARD // CLIP_SAMPLES]
        vocoding = gigabytes(partial(codec.vocoder, mels))
        rows.append((name, parts, max(denoising, decoding, vocoding)))
    latents, context = torch.randn(PIECE, 4, 10, COLUMNS), torch.randn(PIECE, TOKENS, CONTEXT_DIM)
    most = gigabytes(lambda: fixed_diffusion_loss(denoiser, latents, context, draws=1))
    return [*rows, (f"train_a, train_b: {PIECE} validation clips at once", ("U-Net",), most)]


def full_denoiser() -> Denoiser:
    """Make-An-Audio's U-Net."""
    from diffusers import UNet2DConditionModel

    return Denoiser(UNet2DConditionModel(**unet_config(_published(UNET), HEADS, SHAPES)), MAKE_AN_AUDIO)


def full_codec() -> Codec:
    """Make-An-Audio's VAE and BigVGAN, for clips of 10 s."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**vae_config(_published(VAE), SHAPES)).eval()
    return Codec(vae, BigVGAN(BIGVGAN).eval(), 1.0, (vae.config.latent_channels, 10, COLUMNS))


def full_imagebind() -> nn.Module:
    """ImageBind-huge's text and vision towers, built without the time and memory of the package's own beginning."""
    encoders = load_params("presets/full.yaml").encoders
    assert encoders.source == "pretrained"
    with ib.WithoutMemory():
        model = ib.build_imagebind(encoders.imagebind, ("text", "vision"))
    for name, weight in model.named_parameters():
        module, _, last = name.rpartition(".")
        setattr(model.get_submodule(module), last, nn.Parameter(torch.empty(weight.shape).normal_(0, 0.02)))
    return model.eval()


def _published(prefix: str) -> dict[str, Tensor]:
    """The weights below a prefix of Make-An-Audio's checkpoint, without memory."""
    named = {name: torch.empty(shape, device="meta") for name, shape in read_json(SHAPES).items()}
    return without_prefix(named, prefix)


def gigabytes(run: Callable[[], object]) -> float:
    """The most that `run` holds at once of what it allocates itself, in gigabytes, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    held = most = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 1e9


def count(network: nn.Module) -> int:
    """Trainable and frozen parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
