"""Make-An-Audio's published VAE and BigVGAN as `models/codec/` holds them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from stages.formats.audio import HOP_LENGTH, SAMPLE_RATE
from stages.params.models import GeneratorOptions
from stages.published.diffusers_names import read_vae
from stages.published.make_an_audio import read_make_an_audio
from stages.synthesis.bigvgan import BigVGAN, read_generator
from stages.synthesis.codec import save_codec
from stages.synthesis.mel import MEL_BANDS
from stages.weights.reading import read_weights

OPTIONS, GENERATOR = "bigvgan/args.yml", "bigvgan/best_netG.pt"
REMEDY = "take the vocoder that is published beside its checkpoint"


def convert_codec(folder: Path, weights: str | Path, samples: int) -> None:
    """Write Make-An-Audio's VAE and BigVGAN from the files in `weights` into `folder`, for clips of `samples`.

    Raises ValueError for files that are missing, broken or of other sizes, and for a vocoder of other mels.
    """
    checkpoint = read_make_an_audio(weights)
    vae = read_vae(checkpoint.vae, checkpoint.path)
    generator, options = read_vocoder(Path(weights))
    frame = 2 ** (len(vae.config.block_out_channels) - 1)
    shape = [vae.config.latent_channels, MEL_BANDS // frame, samples // (HOP_LENGTH * frame)]
    save_codec(folder, vae, generator.state_dict(), options, checkpoint.scale_factor, shape)


def read_vocoder(folder: Path) -> tuple[BigVGAN, GeneratorOptions]:
    """BigVGAN from `bigvgan/args.yml` and `best_netG.pt`, as Make-An-Audio publishes it.

    Raises ValueError for files that are missing, broken or do not fit each other, and for one of other mels than
    Make-An-Audio's (16 kHz, 80 bands, hop 256), such as NVIDIA's own checkpoints.
    """
    options, others = read_options(folder / OPTIONS)
    rates = {"sampling_rate": SAMPLE_RATE, "hop_size": HOP_LENGTH, "num_mels": MEL_BANDS}
    given = {**others, "num_mels": options.num_mels, "hop_size": math.prod(options.upsample_rates)}
    for name, needed in rates.items():
        if given.get(name, needed) != needed:
            raise ValueError(
                f"{folder / OPTIONS}: {name} is {given[name]}, Make-An-Audio's mels need {needed}; {REMEDY}"
            )
    path = folder / GENERATOR
    return read_generator(options, read_weights(path, ("generator",)), path), options


def read_options(path: Path) -> tuple[GeneratorOptions, dict[str, Any]]:
    """BigVGAN's options from its `args.yml`, and what else stands there. Raises ValueError that names what is amiss."""
    import yaml
    from pydantic import ValidationError

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; `bind-an-audio weights` says where it comes from") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"{path}: not valid YAML; get the file again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no options; get the file again")
    known = {name: found[name] for name in GeneratorOptions.model_fields if name in found}
    try:
        options = GeneratorOptions.model_validate(known | {"resblock": str(known.get("resblock", "1"))})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; {REMEDY}") from None
    return options, {name: value for name, value in found.items() if name not in GeneratorOptions.model_fields}
