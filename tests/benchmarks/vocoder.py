"""BigVGAN at its published size from mel to waveform, beside NVIDIA's own code with the same weights."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stages.full_size.stand_ins import BIGVGAN
from stages.params.models import GeneratorOptions
from stages.synthesis.bigvgan import BigVGAN, read_generator
from stages.synthesis.fast_vocoder import hasten
from tests.benchmarks.table import Row, beside, timed

FRAMES = 625


def rows(small: bool) -> list[Row]:
    """10 s of mel, weights random; where the package `bigvgan` is not installed, without a peer."""
    options = BIGVGAN.model_copy(update={"upsample_initial_channel": 384}) if small else BIGVGAN
    mel = torch.randn(1, options.num_mels, 20 if small else FRAMES, generator=torch.Generator().manual_seed(1))
    name, what = "vocoder", "BigVGAN (112 M), 10 s of mel to audio, beside NVIDIA's bigvgan"
    torch.manual_seed(0)
    peer = published(options) if importlib.util.find_spec("bigvgan") else None
    vocoder = read_generator(options, (peer or BigVGAN(options)).state_dict()).requires_grad_(False)
    plain = vocoder(mel)
    hasten(vocoder)
    assert (vocoder(mel) - plain).abs().max() < 1e-4

    def ours() -> Tensor:
        waveform: Tensor = vocoder(mel)
        return waveform

    if peer is None:
        return [Row(name, what, timed(ours))]
    theirs: Callable[[Tensor], Tensor] = peer.requires_grad_(False)
    return [beside(name, what, ours, lambda: theirs(mel)[:, 0], repeats=1 if small else 3)]


def published(options: GeneratorOptions) -> Any:
    """NVIDIA's generator as it is used for inference, weight normalisation folded in."""
    from bigvgan.bigvgan import BigVGAN as Published
    from bigvgan.env import AttrDict

    with open(os.devnull, "w") as silence, contextlib.redirect_stdout(silence):
        peer = Published(AttrDict(options.model_dump()), use_cuda_kernel=False).eval()
        peer.remove_weight_norm()
    return peer
