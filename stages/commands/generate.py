"""`bind-an-audio generate`: a clip from a text, an image or both, by the trained weights.

From Python: `from stages.commands.generate import generate; waveform = generate(text="three slow rings")`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLES_PER_COLUMN = 2048


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--experiment", choices=("a", "b"), default="b", help="whose conditioning steers (default: b)")
    parser.add_argument("--text", help='what is heard, in a few words: "three slow rings"')
    parser.add_argument("--image", type=Path, help="a picture of what sounds (PNG or JPEG)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write: .wav or .flac")
    parser.add_argument("--seed", type=int, default=0, help="of the starting noise (default: 0)")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps (default: 25)")
    parser.add_argument("--guidance-scale", type=float, default=3.0, help="1 is none (default: 3)")
    parser.add_argument("--seconds", type=float, help="length of the clip (default: that of the training clips)")


def main(arguments: argparse.Namespace) -> None:
    """Generate one clip and write it."""
    import os

    import soundfile

    if arguments.out.suffix not in (".wav", ".flac"):
        raise ValueError(f"--out {arguments.out}: give a name that ends in .wav or .flac")
    waveform = generate(
        text=arguments.text,
        image=arguments.image,
        experiment=arguments.experiment,
        seed=arguments.seed,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        seconds=arguments.seconds,
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.out.with_name(f".{arguments.out.name}.partial")
    soundfile.write(partial, waveform.numpy(), 16_000, subtype="PCM_16", format=arguments.out.suffix[1:].upper())
    os.replace(partial, arguments.out)
    print(f"{arguments.out}: {len(waveform) / 16_000:.2f} s")


def generate(
    text: str | None = None,
    image: str | Path | None = None,
    *,
    experiment: str = "b",
    seed: int = 0,
    steps: int = 25,
    guidance_scale: float = 3.0,
    seconds: float | None = None,
    root: str | Path = ".",
) -> Tensor:
    """Make a waveform `[samples]` at 16 kHz in [-1, 1] with the trained weights under `root`/models.

    With a text or an image alone, its embedding stands for the average of both. Equal arguments give equal samples.

    Raises:
        ValueError: neither text nor image, an image that cannot be read, no trained weights, values out of range.
    """
    import torch

    from stages.synthesis.generation import sample_latents
    from stages.synthesis.store import BACKBONE, CODEC, load_codec, load_unet
    from stages.towers.store import ENCODERS, load_clap, load_imagebind
    from stages.training.determinism import derive_seed

    if not (text and text.strip()) and image is None:
        raise ValueError("--text and --image are both missing; give a text, an image or both")
    if steps < 1 or guidance_scale < 1:
        raise ValueError(f"--steps {steps}, --guidance-scale {guidance_scale:g}: neither may be below 1")
    root = Path(root)
    if not (root / "models").is_dir() or not (root / f"models/experiment_{experiment}").is_dir():
        raise ValueError(f"{root}/models/experiment_{experiment}: no trained weights there; run `dvc repro` first")
    codec, unet = load_codec(root / CODEC), load_unet(root / BACKBONE).eval()
    imagebind = load_imagebind(root / ENCODERS)
    clap, tokenizer = load_clap(root / ENCODERS)
    channels, height, width = codec.latent_shape
    if seconds is not None:
        width = round(seconds * 16_000 / SAMPLES_PER_COLUMN)
        if not 8 <= width <= 256:
            raise ValueError(f"--seconds {seconds:g}: give 1 to 32")
    with torch.no_grad():
        context = _context(experiment, text, image, imagebind, unet, root)
        latents = sample_latents(
            unet,
            context,
            clap.token_features(tokenizer([""]))[0],
            seeds=[derive_seed(seed, "generate")],
            latent_shape=(channels, height, width),
            sampler="dpm_solver",
            steps=steps,
            guidance_scale=guidance_scale,
        )
        return codec.decode(latents)[0].clamp(-1, 1)


def _context(
    experiment: str, text: str | None, image: str | Path | None, imagebind: nn.Module, unet: nn.Module, root: Path
) -> Tensor:
    """The experiment's context `[1, T, C]`; loading A also puts its own weights into `unet`."""
    from stages.experiments.store import MODELS, context_a, context_b, load_a, load_b
    from stages.language.text import process_text
    from stages.towers import imagebind as ib

    embedded = []
    if text and text.strip():
        embedded.append(ib.embed_texts(imagebind, ib.tokenize([process_text(text)])))
    if image is not None:
        embedded.append(ib.embed_images(imagebind, ib.read_image(image)[None]))
    text_embedding, image_embedding = embedded[0], embedded[-1]
    if experiment == "a":
        return context_a(load_a(unet, root / MODELS / "experiment_a"), text_embedding, image_embedding)
    return context_b(load_b(root / MODELS / "experiment_b"), text_embedding, image_embedding)
