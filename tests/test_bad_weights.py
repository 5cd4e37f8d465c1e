"""Checkpoints whose weights have wrong shapes: whatever is wrong with whichever weight is one line with the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from stages.full_size.stand_ins import BIGVGAN
from stages.published.diffusers_names import read_unet, read_vae
from stages.published.encoders import read_text_tower
from stages.published.make_an_audio import read_make_an_audio
from stages.synthesis.bigvgan import read_generator
from stages.weights.fitting import without_prefix
from tests.test_published import make_an_audio_state

GOLDEN = Path(__file__).parent / "golden"
ORIGIN = "some/where.ckpt"
OPTIONS = BIGVGAN.model_copy(update={"upsample_initial_channel": 64})
READERS: dict[str, tuple[Callable[[], dict[str, Tensor]], Callable[[dict[str, Tensor]], Any]]] = {
    "unet": (lambda: part("model.diffusion_model."), lambda weights: read_unet(weights, 4, ORIGIN)),
    "vae": (lambda: part("first_stage_model."), lambda weights: read_vae(weights, ORIGIN)),
    "text": (
        lambda: part("cond_stage_model.caption_encoder."),
        lambda weights: read_text_tower(weights, ORIGIN, heads=4),
    ),
    "vocoder": (
        lambda: load_file(GOLDEN / "bigvgan_v1_snakebeta_log_rb1_256x_state.safetensors"),
        lambda weights: read_generator(OPTIONS, weights, ORIGIN),
    ),
}
# Sizes that are read off the weights: of these more or fewer are another size, not an error.
SIZES = {"text": ("position_embeddings", "word_embeddings", "token_type_embeddings")}


def part(prefix):
    named = without_prefix(make_an_audio_state(), prefix)
    return {name: value for name, value in named.items() if not name.endswith("position_ids")}


def refused(reader, weights):
    with pytest.raises(ValueError, match=ORIGIN) as caught:
        READERS[reader][1](weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("reader", "name", "shape", "words"),
    [
        ("unet", "input_blocks.0.0.weight", (3,), "input_blocks.0.0.weight is of shape [3]"),
        ("unet", "input_blocks.1.0.emb_layers.1.weight", (), "time_emb_proj.weight [] instead of"),
        ("unet", "input_blocks.1.0.out_layers.3.weight", (0,), "out_layers.3.weight is of shape [0]"),
        ("unet", "input_blocks.1.0.out_layers.3.weight", (48, 48, 3, 3), "blocks of 48 channels"),
        ("vae", "decoder.conv_in.weight", (3,), "decoder.conv_in.weight is of shape [3]"),
        ("vae", "quant_conv.weight", (), "quant_conv.weight is of shape []"),
        ("vae", "encoder.down.2.block.0.conv1.weight", (0, 1, 3, 3), "conv1.weight is of shape [0, 1, 3, 3]"),
        ("text", "base.embeddings.word_embeddings.weight", (3,), "word_embeddings.weight is of shape [3]"),
        ("text", "projection.linear1.weight", (), "projection.linear1.weight is of shape []"),
        ("vocoder", "conv_pre.weight_g", (128, 1, 1), "conv_pre.weight_g and conv_pre.weight_v of shapes [128, 1, 1]"),
        ("vocoder", "conv_post.weight_v", (1, 1, 1, 1, 1), "which do not fit"),
        ("vocoder", "activation_post.downsample.lowpass.filter", (1, 1, 8), "not BigVGAN's filter of 12 taps"),
    ],
)
def test_a_weight_of_another_shape_is_one_line(reader, name, shape, words):
    weights = READERS[reader][0]()
    assert name in weights
    assert words in refused(reader, weights | {name: torch.zeros(shape)})


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=15)
@given(data=st.data())
def test_any_weight_that_is_amiss_is_one_line(reader, data):
    weights = READERS[reader][0]()
    names = [name for name in weights if not name.endswith(".filter")]
    name = data.draw(
        st.sampled_from([name for name in names if not any(size in name for size in SIZES.get(reader, ()))])
    )
    shape = data.draw(st.none() | st.lists(st.integers(0, 40), max_size=5))
    if shape == list(weights[name].shape):
        return
    changed = {other: value for other, value in weights.items() if other != name}
    if shape is not None:
        changed[name] = torch.zeros(shape)
    refused(reader, changed)


def test_a_direction_of_no_length_has_no_weight():
    weights = READERS["vocoder"][0]()
    weights["conv_pre.weight_v"] = weights["conv_pre.weight_v"].clone()
    weights["conv_pre.weight_v"][3] = 0
    assert "conv_pre.weight_v holds a direction of length 0" in refused("vocoder", weights)


def test_heads_that_do_not_divide_the_width_name_the_key():
    with pytest.raises(ValueError, match=r"32 channels, which 7 attention heads do not divide; set backbone\."):
        read_unet(READERS["unet"][0](), 7, ORIGIN)


@pytest.mark.parametrize("scale", [torch.zeros(()), torch.tensor(-1.0), torch.ones(3), torch.ones(0)])
def test_a_scale_that_is_no_scale_is_one_line(tmp_path, scale):
    torch.save({"state_dict": {**make_an_audio_state(), "scale_factor": scale}}, tmp_path / "maa1_full.ckpt")
    with pytest.raises(ValueError, match="not one number above 0"):
        read_make_an_audio(tmp_path)
