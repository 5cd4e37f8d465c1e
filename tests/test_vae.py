import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages.params.models import Vae
from stages.published.diffusers_names import read_vae
from stages.synthesis.codec import Codec, build_vae, decode_latent, encode_mel
from stages.weights.fitting import without_prefix
from tests.golden_weights import drawn_weights

GOLDEN = Path(__file__).parent / "golden"
SMALL = Vae(
    channels=[8, 8, 8, 16],
    latent_channels=4,
    layers_per_block=1,
    norm_groups=4,
    kl_weight=1e-4,
    latent_deviation=1.0,
    segment_frames=32,
)


@pytest.mark.parametrize("frames", [64, 160])
def test_a_mel_becomes_a_latent_an_eighth_as_wide_and_comes_back(frames):
    torch.manual_seed(0)
    vae = build_vae(SMALL).eval()
    mel = torch.randn(2, 80, frames)
    with torch.no_grad():
        latents = encode_mel(vae, mel)
        assert latents.shape == (2, 4, 10, frames // 8)
        assert torch.equal(latents, encode_mel(vae, mel))
        assert decode_latent(vae, latents).shape == mel.shape


def published_vae():
    return without_prefix(drawn_weights("maa_vae_small_state"), "first_stage_model.")


def test_vae_is_make_an_audios():
    golden = load_file(GOLDEN / "maa_vae_small_io.safetensors")
    vae = read_vae(published_vae(), "golden")
    with torch.no_grad():
        posterior = vae.encode(golden["mel"]).latent_dist
        decoded = vae.decode(golden["mean"]).sample
    for ours, name in ((posterior.mean, "mean"), (posterior.logvar, "logvar"), (decoded, "decoded_mean")):
        assert ours.shape == golden[name].shape
        assert float((ours - golden[name]).abs().max() / golden[name].abs().max()) < 1e-4, name


def test_every_published_vae_weight_has_its_place_at_full_size():
    shapes = json.loads((GOLDEN / "maa_full_shapes.json").read_text())
    published = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with torch.device("meta"):
        vae = read_vae(without_prefix(published, "first_stage_model."), "golden")
    assert len(vae.state_dict()) == 348
    assert sum(value.numel() for value in vae.state_dict().values()) == 68_984_037


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("decoder.up.0.block.1.conv2.bias"), r"1 missing \(decoder\.up_blocks\.3\.resnets\.1"),
        (
            lambda state: state.update({"decoder.up.3.attn.0.z.weight": torch.zeros(2)}),
            r"1 unknown \(.*attentions\.0\.z",
        ),
        (
            lambda state: state.update({"decoder.conv_in.bias": torch.zeros(7)}),
            r"conv_in\.bias \[7\] instead of \[64\]",
        ),
        (lambda state: state.pop("encoder.conv_in.weight"), r"no weight named encoder\.conv_in\.weight"),
        (lambda state: state.update({"quant_conv.weight": torch.zeros(12, 8, 1, 1)}), "embedded in 6"),
    ],
)
def test_a_vae_that_does_not_fit_is_refused_by_name(change, words):
    state = published_vae()
    change(state)
    with pytest.raises(ValueError, match=rf"golden: .*{words}"):
        read_vae(state, "golden")


@pytest.mark.parametrize(("frames", "at_once"), [(624, [1] * 20), (40, [4] * 5), (160, [1] * 20)])
def test_a_processor_vocodes_as_many_clips_at_once_as_stay_in_its_caches(frames, at_once):
    seen = []

    class Vocoder(torch.nn.Module):
        def forward(self, mels):
            seen.append(len(mels))
            return mels.mean(dim=1).repeat_interleave(256, dim=1)

    vocoder: Any = Vocoder()
    codec = Codec(build_vae(SMALL), vocoder, 1.0, (4, 10, 78))
    mels = torch.randn(20, 80, frames)
    waveforms = codec.vocode(mels)
    assert seen == at_once
    assert torch.equal(waveforms, vocoder(mels))
