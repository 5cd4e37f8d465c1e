import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages.params.models import Schedule, TrainedBackbone
from stages.published.diffusers_names import read_unet
from stages.synthesis.schedule import NoiseSchedule
from stages.synthesis.unet import build_denoiser, load_denoiser, save_denoiser
from stages.weights.fitting import without_prefix
from tests.golden_weights import digest, drawn_weights

GOLDEN = Path(__file__).parent / "golden"
SMALL = TrainedBackbone(
    source="trained",
    weights="models/pretrained/none",
    seed=1,
    channels=[32, 64],
    layers_per_block=1,
    attention_heads=4,
    norm_groups=32,
    caption_dropout=0.1,
    prediction="noise",
    zero_terminal_snr=False,
    pooled_context=False,
    loss_weighting="plain",
    ema_decay=0.99,
    training=Schedule(updates=1, batch_size=1, learning_rate=1e-3, muon_rate=0.0),
)
FULL = {"channels": [320, 640], "layers_per_block": 2, "attention_heads": 8}


def make_an_audio_unet():
    """The class that is trained here, with Make-An-Audio's small reference weights."""
    denoiser = build_denoiser(SMALL, latent_channels=4, context_dim=32)
    denoiser.unet.load_state_dict(read_unet(published_unet(), 4, "golden").state_dict())
    return denoiser.eval()


def test_unet_is_make_an_audios():
    golden = load_file(GOLDEN / "maa_unet_small_io.safetensors")
    unet = make_an_audio_unet()
    with torch.no_grad():
        for context, expected in (("context", "out"), ("context_len1", "out_len1")):
            noise = unet(golden["x"], golden["t"], golden[context])
            torch.testing.assert_close(noise, golden[expected], rtol=1e-4, atol=1e-4)


def test_the_first_token_of_the_context_reaches_every_block_where_it_is_pooled():
    torch.manual_seed(0)
    size = SMALL.model_copy(update={"pooled_context": True})
    denoiser = build_denoiser(size, latent_channels=4, context_dim=16).eval()
    for name, weight in denoiser.named_parameters():
        if ".attn2.to_out" in name:
            nn.init.zeros_(weight)  # without cross-attention the context can arrive by the time embedding alone
    noisy, timesteps, context = torch.randn(1, 4, 10, 20), torch.tensor([500]), torch.randn(1, 5, 16)
    first, later = context.clone(), context.clone()
    first[:, 0] += 1
    later[:, 1:] += 1
    with torch.no_grad():
        predicted = denoiser(noisy, timesteps, context)
        assert torch.equal(denoiser(noisy, timesteps, later), predicted)
        assert not torch.allclose(denoiser(noisy, timesteps, first), predicted, atol=1e-4)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_denoiser_comes_back_from_its_folder_with_its_schedule(tmp_path, pooled):
    size = SMALL.model_copy(update={"prediction": "velocity", "zero_terminal_snr": True, "pooled_context": pooled})
    denoiser = build_denoiser(size, latent_channels=4, context_dim=16).eval()
    save_denoiser(tmp_path, denoiser)
    again = load_denoiser(tmp_path).eval()
    assert again.schedule == NoiseSchedule("velocity", zero_terminal_snr=True)
    inputs = torch.randn(2, 4, 10, 20), torch.tensor([1, 999]), torch.randn(2, 5, 16)
    with torch.no_grad():
        assert torch.equal(again(*inputs), denoiser(*inputs))


def test_every_level_reads_the_context():
    unet = build_denoiser(SMALL, latent_channels=8, context_dim=16)
    context = torch.randn(2, 5, 16, requires_grad=True)
    noise = unet(torch.randn(2, 8, 10, 20), torch.tensor([3, 700]), context)
    assert noise.shape == (2, 8, 10, 20)
    noise.square().mean().backward()
    reading = [name for name, _ in unet.named_parameters() if name.endswith("attn2.to_k.weight")]
    # One block down and two up at each of two levels, and one in the middle.
    assert len(reading) == 7
    for name in reading:
        gradient = unet.get_parameter(name).grad
        assert gradient is not None
        assert float(gradient.abs().sum()) > 0, name
    assert context.grad is not None
    assert float(context.grad.abs().sum()) > 0


def published_unet():
    return without_prefix(drawn_weights("maa_unet_small_state"), "model.diffusion_model.")


@pytest.mark.parametrize("name", ["maa_unet_small_state", "maa_vae_small_state"])
def test_the_weights_are_those_that_the_reference_ran_with(name):
    assert digest(drawn_weights(name)) == json.loads((GOLDEN / f"{name}.json").read_text())["sha256"]


def test_every_published_unet_weight_has_its_place_at_full_size():
    shapes = json.loads((GOLDEN / "maa_full_shapes.json").read_text())
    published = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with torch.device("meta"):
        unet = read_unet(without_prefix(published, "model.diffusion_model."), 8, "golden")
        trained = build_denoiser(SMALL.model_copy(update=FULL), latent_channels=4, context_dim=1024).unet
    assert shapes_of(unet) == shapes_of(trained)
    assert len(unet.state_dict()) == 434
    assert sum(value.numel() for value in unet.state_dict().values()) == 160_223_684


def shapes_of(unet):
    return {name: value.shape for name, value in unet.state_dict().items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("out.2.bias"), r"1 missing \(conv_out\.bias\)"),
        (lambda state: state.update({"label_emb.0.weight": torch.zeros(2)}), r"1 unknown \(label_emb\.0\.weight\)"),
        (lambda state: state.update({"time_embed.0.bias": torch.zeros(3)}), r"linear_1\.bias \[3\] instead of \[128\]"),
        (
            lambda state: state.pop("middle_block.1.proj_in.weight"),
            r"1 missing \(mid_block\.attentions\.0\.proj_in\.weight\)",
        ),
        (lambda state: state.clear(), r"no weights named input_blocks"),
    ],
)
def test_a_unet_that_does_not_fit_is_refused_by_name(change, words):
    state = published_unet()
    change(state)
    with pytest.raises(ValueError, match=rf"golden: .*{words}"):
        read_unet(state, 4, "golden")
