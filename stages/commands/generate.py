"""`bind-an-audio generate`: a clip from a text, an image or both, by the trained weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.formats.audio import SAMPLE_RATE
from stages.formats.files import replacing

QUIET = -40.0  # dB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--text", help='what is heard, in a few words: "three slow rings"')
    parser.add_argument("--image", type=Path, help="a picture of what sounds (PNG or JPEG)")
    parser.add_argument(
        "--out", type=Path, required=True, help="the file to write: .wav or .flac; of several seeds NAME-SEED.wav"
    )
    parser.add_argument(
        "--experiment", choices=("a", "b"), help="whose conditioning steers (default: the run's better one)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[0],
        help="of the starting noise; several make as many clips (default: 0)",
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: sample.steps of params.yaml)")
    parser.add_argument(
        "--guidance-scale", type=float, help="1 is none (default: sample.guidance_scale of params.yaml)"
    )
    parser.add_argument(
        "--seconds", type=float, help="length of the clip, 1 to 32 (default: that of the training clips)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Check everything, load the networks, generate a clip a seed and write them; doubts go to stderr."""
    out: Path = arguments.out
    if out.suffix not in (".wav", ".flac"):
        raise ValueError(f"--out {out}: give a name that ends in .wav or .flac")
    if min(arguments.seed) < 0:
        raise ValueError(f"--seed {min(arguments.seed)}: give 0 or more")
    import soundfile

    from stages.inference.generator import Generator, Run, decibels

    run = Run()
    request = run.request(
        arguments.text,
        arguments.image,
        seconds=arguments.seconds,
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    experiment = arguments.experiment
    if experiment is None:
        experiment, why = run.better()
        print(why, file=sys.stderr)
    if request.seconds is not None and request.seconds > run.seconds:
        print(f"--seconds {request.seconds:g}: this run learned clips of {run.seconds:g} s", file=sys.stderr)
    generator = Generator(run, experiment)
    for seed in arguments.seed:
        waveform = generator.make(request, seed)
        path = out if len(arguments.seed) == 1 else out.with_name(f"{out.stem}-{seed}{out.suffix}")
        with replacing(path) as partial:
            soundfile.write(partial, waveform.numpy(), SAMPLE_RATE, subtype="PCM_16", format=out.suffix[1:].upper())
        print(f"{path}: {len(waveform) / SAMPLE_RATE:.2f} s")
        if (level := decibels(waveform)) < QUIET:
            print(f"{path}: nearly silent ({level:.0f} dB); try another --seed or --guidance-scale", file=sys.stderr)
