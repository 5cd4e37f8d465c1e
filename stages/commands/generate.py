"""`bind-an-audio generate`: a clip from a text, an image or both, by the trained weights.

From Python: `from stages.commands.generate import generate; waveform = generate(text="three slow rings")`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import replacing

if TYPE_CHECKING:
    from torch import Tensor, nn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--experiment", choices=("a", "b"), default="b", help="whose conditioning steers (default: b)")
    parser.add_argument("--text", help='what is heard, in a few words: "three slow rings"')
    parser.add_argument("--image", type=Path, help="a picture of what sounds (PNG or JPEG)")
    parser.add_argument(
        "--out", type=Path, required=True, help="the file to write: .wav or .flac; of several seeds NAME-SEED.wav"
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[0],
        help="of the starting noise; several make as many clips (default: 0)",
    )
    parser.add_argument("--steps", type=int, default=25, help="sampling steps (default: 25)")
    parser.add_argument("--guidance-scale", type=float, default=3.0, help="1 is none (default: 3)")
    parser.add_argument(
        "--seconds", type=float, help="length of the clip, 1 to 32 (default: that of the training clips)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Generate a clip a seed and write them."""
    import soundfile

    if arguments.out.suffix not in (".wav", ".flac"):
        raise ValueError(f"--out {arguments.out}: give a name that ends in .wav or .flac")
    waveforms = generate_takes(
        arguments.seed,
        text=arguments.text,
        image=arguments.image,
        experiment=arguments.experiment,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        seconds=arguments.seconds,
    )
    for seed, waveform in zip(arguments.seed, waveforms, strict=True):
        name = arguments.out.name if len(arguments.seed) == 1 else f"{arguments.out.stem}-{seed}{arguments.out.suffix}"
        with replacing(arguments.out.with_name(name)) as partial:
            form = arguments.out.suffix[1:].upper()
            soundfile.write(partial, waveform.numpy(), SAMPLE_RATE, subtype="PCM_16", format=form)
        print(f"{arguments.out.with_name(name)}: {len(waveform) / SAMPLE_RATE:.2f} s")


def generate(text: str | None = None, image: str | Path | None = None, *, seed: int = 0, **options: Any) -> Tensor:
    """Make one waveform `[samples]`; see `generate_takes` for what else can be said."""
    return generate_takes([seed], text, image, **options)[0]


def generate_takes(
    seeds: Sequence[int],
    text: str | None = None,
    image: str | Path | None = None,
    *,
    experiment: str = "b",
    steps: int = 25,
    guidance_scale: float = 3.0,
    seconds: float | None = None,
    root: str | Path = ".",
) -> Tensor:
    """Make waveforms `[seeds, samples]` at 16 kHz in [-1, 1] with the trained weights under `root`/models.

    A clip depends on its own seed alone, whichever others are asked for with it, and equal arguments give equal
    samples. With a text or an image alone, its embedding stands for the average of both.

    Raises:
        ValueError: neither text nor image, an image that cannot be read, no trained weights, values out of range.
    """
    import torch

    from stages.experiments.experiment_a import EXPERIMENT_A, load_experiment_a
    from stages.experiments.experiment_b import EXPERIMENT_B, load_experiment_b
    from stages.plumbing.device import device
    from stages.synthesis.codec import CODEC, load_codec
    from stages.synthesis.generation import latent_width, sample_latents
    from stages.synthesis.unet import BACKBONE, load_denoiser
    from stages.towers.store import ENCODERS, load_clap, load_imagebind
    from stages.training.determinism import derive_seed

    if not (text and text.strip()) and image is None:
        raise ValueError("--text and --image are both missing; give a text, an image or both")
    if steps < 1 or guidance_scale < 1:
        raise ValueError(f"--steps {steps}, --guidance-scale {guidance_scale:g}: neither may be below 1")
    root = Path(root)
    if not (root / "models").is_dir() or not (root / f"models/experiment_{experiment}").is_dir():
        raise ValueError(f"{root}/models/experiment_{experiment}: no trained weights there; run `dvc repro` first")
    width = None if seconds is None else latent_width(seconds)
    with torch.no_grad():
        # One after the other, so that ImageBind is gone before the rest comes.
        text_embedding, image_embedding = _embeddings(text, image, load_imagebind(root / ENCODERS).to(device()))
        if experiment == "a":
            trained_a = load_experiment_a(root / EXPERIMENT_A, root / BACKBONE)
            context, denoiser = trained_a.context(text_embedding, image_embedding), trained_a.denoiser
        else:
            context = load_experiment_b(root / EXPERIMENT_B).context(text_embedding, image_embedding)
            denoiser = load_denoiser(root / BACKBONE).eval()
        clap, tokenizer = load_clap(root / ENCODERS)
        empty = clap.token_features(tokenizer([""]))[0]
        codec = load_codec(root / CODEC).to(device())
        channels, height, trained_width = codec.latent_shape
        clips = []
        for seed in seeds:
            latents = sample_latents(
                denoiser.to(device()),
                context,
                empty,
                seeds=[derive_seed(seed, "generate")],
                latent_shape=(channels, height, width or trained_width),
                sampler="dpm_solver",
                steps=steps,
                guidance_scale=guidance_scale,
            )
            clips.append(codec.decode(latents)[0].clamp(-1, 1))
    waveforms = torch.stack(clips)
    return waveforms if seconds is None else waveforms[:, : round(seconds * SAMPLE_RATE)]


def _embeddings(text: str | None, image: str | Path | None, imagebind: nn.Module) -> tuple[Tensor, Tensor]:
    """Text and image embeddings `[1, D]`; where one is not given, the other stands for it."""
    from stages.language.text import process_text
    from stages.towers import imagebind as ib

    embedded = []
    if text and text.strip():
        embedded.append(ib.embed_texts(imagebind, ib.tokenize([process_text(text)])))
    if image is not None:
        embedded.append(ib.embed_images(imagebind, ib.read_image(image)[None]))
    return embedded[0].cpu(), embedded[-1].cpu()
