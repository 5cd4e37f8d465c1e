from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.plumbing.model_params import Vocoder
from stages.synthesis.bigvgan import BigVGAN, read_generator

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = Vocoder(
    initial_channels=64,
    upsample_rates=[4, 4, 2, 2, 2, 2],
    upsample_kernel_sizes=[8, 8, 4, 4, 4, 4],
    resblock_kernel_sizes=[3, 7, 11],
    resblock_dilations=[1, 3, 5],
    segment_frames=32,
)
SMALL = PUBLISHED.model_copy(
    update={
        "initial_channels": 32,
        "upsample_rates": [8, 8, 4],
        "upsample_kernel_sizes": [16, 16, 8],
        "resblock_kernel_sizes": [3],
        "resblock_dilations": [1],
    }
)


def published_state():
    return load_file(GOLDEN / "bigvgan_v1_snakebeta_log_rb1_256x_state.safetensors")


def test_generator_agrees_with_the_published_implementation():
    golden = load_file(GOLDEN / "bigvgan_v1_snakebeta_log_rb1_256x_io.safetensors")
    generator = read_generator(PUBLISHED, published_state())
    with torch.no_grad():
        waveform = generator(golden["mel"])
    expected = golden["wav"][:, 0]
    assert waveform.shape == expected.shape
    assert float((waveform - expected).abs().max() / expected.abs().max()) < 1e-4


def test_own_weights_come_back_as_they_were_saved():
    torch.manual_seed(0)
    generator = BigVGAN(SMALL)
    mel = torch.randn(1, 80, 6)
    with torch.no_grad():
        assert torch.equal(read_generator(SMALL, generator.state_dict())(mel), generator(mel))


def test_weights_of_another_size_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        read_generator(SMALL, published_state())


def test_a_frame_becomes_256_samples_within_one_and_is_trained_by_gradients():
    torch.manual_seed(0)
    generator = BigVGAN(SMALL)
    waveform = generator(torch.randn(2, 80, 5))
    assert waveform.shape == (2, 5 * 256)
    assert float(waveform.detach().abs().max()) <= 1
    waveform.square().mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().sum()) > 0, name
