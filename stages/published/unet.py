"""Make-An-Audio's published U-Net as `models/backbone/` holds it."""

from __future__ import annotations

from pathlib import Path

from stages.published.diffusers_names import read_unet
from stages.published.make_an_audio import find_checkpoint, read_make_an_audio
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import Denoiser, save_denoiser


def convert_unet(folder: Path, weights: str | Path, heads: int) -> int:
    """Write Make-An-Audio's U-Net from the files in `weights` into `folder`; returns its number of parameters.

    Raises ValueError for files that are missing, broken or of other sizes.
    """
    checkpoint = read_make_an_audio(find_checkpoint(weights))
    unet = read_unet(checkpoint.unet, heads, checkpoint.path)
    save_denoiser(folder, Denoiser(unet, MAKE_AN_AUDIO))
    return sum(parameter.numel() for parameter in unet.parameters())
