import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.plumbing.model_params import Backbone, Schedule
from stages.synthesis.make_an_audio import unet_weights
from stages.synthesis.unet import build_unet

GOLDEN = Path(__file__).parent / "golden"
SMALL = Backbone(
    source="trained",
    weights="models/pretrained/none",
    seed=1,
    channels=[32, 64],
    layers_per_block=1,
    attention_heads=4,
    norm_groups=32,
    caption_dropout=0.1,
    loss_weighting="plain",
    ema_decay=0.99,
    training=Schedule(updates=1, batch_size=1, learning_rate=1e-3),
)


def make_an_audio_unet():
    """The U-Net of Make-An-Audio's small reference weights."""
    unet = build_unet(SMALL, latent_channels=4, context_dim=32)
    unet.load_state_dict(unet_weights(load_file(GOLDEN / "maa_unet_small_state.safetensors"), SMALL.layers_per_block))
    return unet.eval()


def test_unet_is_make_an_audios():
    golden = load_file(GOLDEN / "maa_unet_small_io.safetensors")
    unet = make_an_audio_unet()
    with torch.no_grad():
        for context, expected in (("context", "out"), ("context_len1", "out_len1")):
            noise = unet(golden["x"], golden["t"], encoder_hidden_states=golden[context]).sample
            torch.testing.assert_close(noise, golden[expected], rtol=1e-4, atol=1e-4)


def test_every_level_reads_the_context():
    unet = build_unet(SMALL, latent_channels=8, context_dim=16)
    context = torch.randn(2, 5, 16, requires_grad=True)
    noise = unet(torch.randn(2, 8, 10, 20), torch.tensor([3, 700]), encoder_hidden_states=context).sample
    assert noise.shape == (2, 8, 10, 20)
    noise.square().mean().backward()
    reading = [name for name, _ in unet.named_parameters() if name.endswith("attn2.to_k.weight")]
    # One block down and two up at each of two levels, and one in the middle.
    assert len(reading) == 7
    for name in reading:
        assert float(unet.get_parameter(name).grad.abs().sum()) > 0, name
    assert context.grad is not None
    assert float(context.grad.abs().sum()) > 0


def test_every_published_weight_has_its_place_at_full_size():
    shapes = json.loads((GOLDEN / "maa_full_shapes.json").read_text())
    published = unet_weights({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, 2)
    size = {"channels": [320, 640], "layers_per_block": 2, "attention_heads": 8}
    with torch.device("meta"):
        unet = build_unet(SMALL.model_copy(update=size), latent_channels=4, context_dim=1024)
    assert {name: value.shape for name, value in published.items()} == {
        name: value.shape for name, value in unet.state_dict().items()
    }


def test_a_checkpoint_without_a_unet_is_refused():
    with pytest.raises(ValueError, match="no weights named"):
        unet_weights({"first_stage_model.decoder.conv_in.bias": torch.zeros(1)}, 2)
