"""What a wide BigVGAN is hastened with gives the plain layers' outputs; a narrow one is left alone."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from stages.params.models import TrainedCodec, Vocoder
from stages.params.schema import load_params
from stages.synthesis.bigvgan import AntiAliasedSnake, BigVGAN
from stages.synthesis.codec import Codec, build_vae
from stages.synthesis.fast_vocoder import hasten
from stages.synthesis.fused_snake import FusedSnake, compiled
from stages.synthesis.short_convolution import ShortConvolution
from tests.scratch_clone import ROOT

WIDE = Vocoder(
    initial_channels=384,
    upsample_rates=[8, 8, 4],
    upsample_kernel_sizes=[16, 16, 8],
    resblock_kernel_sizes=[3, 7, 11],
    resblock_dilations=[1, 3],
    segment_frames=32,
)


def wide() -> BigVGAN:
    torch.manual_seed(0)
    generator = BigVGAN(WIDE)
    for name, parameter in generator.requires_grad_(False).named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.normal_(0, 0.5)
    return generator


def test_a_codec_vocodes_by_the_faster_layers():
    params = load_params(ROOT / "presets/smoke.yaml").codec
    assert isinstance(params, TrainedCodec)
    codec = Codec(build_vae(params.vae).eval(), wide(), 1.0, (4, 10, 1))
    with torch.no_grad():
        plain = codec.vocoder(mel := torch.randn(1, 80, 9))
    torch.testing.assert_close(codec.vocode(mel), plain, rtol=0, atol=1e-5)
    assert any(isinstance(layer, FusedSnake) for layer in codec.vocoder.modules())


def test_a_wide_vocoder_gives_the_same_waveform_and_is_hastened_once():
    generator, mel = wide(), torch.randn(2, 80, 9)
    plain = generator(mel)
    hasten(generator)
    layers = list(generator.modules())
    assert {type(layer).__name__ for layer in layers} >= {"ShortConvolution", "FusedSnake", "Conv1d"}
    torch.testing.assert_close(generator(mel), plain, rtol=0, atol=1e-5)
    hasten(generator)
    assert all(one is other for one, other in zip(generator.modules(), layers, strict=True))


def test_the_runs_own_vocoder_stays_as_it_is():
    codec = load_params(ROOT / "params.yaml").codec
    assert isinstance(codec, TrainedCodec)
    generator, mel = BigVGAN(codec.vocoder).requires_grad_(False), torch.randn(2, 80, 9)
    layers, waveform = list(generator.modules()), generator(mel)
    hasten(generator)
    assert all(one is other for one, other in zip(generator.modules(), layers, strict=True))
    assert torch.equal(generator(mel), waveform)


def test_a_short_convolution_is_the_plain_one():
    torch.manual_seed(0)
    lengths = (1, 2, 9, 10, 14, 53, 200)
    for taps, dilation, length, batch in product((5, 7, 9, 11, 13, 15), (1, 2, 3, 5), lengths, (1, 3)):
        plain = nn.Conv1d(200, 3, taps, dilation=dilation, padding="same").requires_grad_(False)
        assert ShortConvolution.gains(plain) == (200 * taps >= 1000)
        hidden = torch.randn(batch, 200, length)
        torch.testing.assert_close(ShortConvolution(plain)(hidden), plain(hidden), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv1d(2000, 1, 3, padding="same"),
        nn.Conv1d(2000, 1, 7),
        nn.Conv1d(2000, 1, 6, padding="same"),
        nn.Conv1d(2000, 2, 7, padding="same", groups=2),
        nn.Conv1d(64, 1, 7, padding="same"),
        nn.Linear(2000, 1),
    ],
)
def test_other_layers_are_no_short_convolutions(other):
    assert not ShortConvolution.gains(other)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_fused_activation_is_the_plain_one(threads):
    torch.manual_seed(0)
    plain = AntiAliasedSnake(5).requires_grad_(False)
    for parameter in plain.parameters():
        parameter.add_(torch.rand(5))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for length, batch in product((1, 2, 3, 4, 7, 100, 1021, 1023, 1024, 1025, 1027, 1030, 2048, 3000), (1, 2)):
            hidden = 5 * torch.randn(batch, 5, length)
            torch.testing.assert_close(FusedSnake(plain)(hidden), plain(hidden), rtol=0, atol=2e-5)
            turned = hidden.transpose(1, 2).contiguous().transpose(1, 2)
            assert torch.equal(FusedSnake(plain)(turned), FusedSnake(plain)(hidden))
    finally:
        torch.set_num_threads(before)


def test_where_no_machine_code_can_be_kept_it_is_made_all_the_same():
    # Code from no file is code that numba finds no place for.
    assert compiled(eval("lambda value: value + 1"))(2) == 3
