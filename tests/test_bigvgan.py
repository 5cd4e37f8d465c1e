from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.params.models import Vocoder
from stages.synthesis.bigvgan import BigVGAN, Snake, fold_weight_norm, read_generator

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
    with pytest.raises(ValueError, match="weights that do not fit"):
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


def test_snake_adds_the_square_of_a_sine_whose_factors_are_learned_as_logarithms():
    hidden, act = torch.linspace(-2, 2, 9)[None, None], Snake(4).requires_grad_(False)
    act.alpha.fill_(1.5).log_()
    act.beta.fill_(0.5).log_()
    expected = hidden + torch.sin(1.5 * hidden).square() / 0.5
    torch.testing.assert_close(act(hidden.expand(1, 4, 9)), expected.expand(1, 4, 9), rtol=1e-4, atol=1e-5)


def test_weight_norm_of_newer_torch_is_folded_alike():
    state = published_state()
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    newer = {}
    for name, value in state.items():
        prefix, _, last = name.rpartition(".")
        newer[f"{prefix}.{names.get(last, last)}"] = value
    old, new = fold_weight_norm(state), fold_weight_norm(newer)
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_half_a_weight_norm_and_a_foreign_filter_are_refused():
    state = published_state()
    del state["conv_pre.weight_g"]
    with pytest.raises(ValueError, match=r"conv_pre\.weight_v without conv_pre\.weight_g"):
        read_generator(PUBLISHED, state)
    state = published_state()
    state["activation_post.upsample.filter"] = torch.ones(1, 1, 12) / 12
    with pytest.raises(ValueError, match=r"activation_post\.upsample\.filter is not BigVGAN's"):
        read_generator(PUBLISHED, state)
