"""Make-An-Audio's published U-Net and VAE as diffusers' classes, their sizes read off the weights.

Both are latent diffusion's (CompVis/latent-diffusion). diffusers' own converter gives the U-Net's names; for the VAE it
knows no attention but the middle's, whose 1 x 1 convolutions are linear layers in diffusers: its names are given here.
Names come without the checkpoint's prefixes, see `stages/published/make_an_audio.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.weights.fitting import load_exactly, shape_of

IN_VAE = {
    "norm_out.": "conv_norm_out.",
    "nin_shortcut.": "conv_shortcut.",
    "mid.block_1.": "mid_block.resnets.0.",
    "mid.attn_1.": "mid_block.attentions.0.",
    "mid.block_2.": "mid_block.resnets.1.",
    ".downsample.": ".downsamplers.0.",
    ".upsample.": ".upsamplers.0.",
}
IN_VAE_ATTENTION = {"norm.": "group_norm.", "q.": "to_q.", "k.": "to_k.", "v.": "to_v.", "proj_out.": "to_out.0."}
# Latent diffusion fixes the groups of its normalisations.
NORM_GROUPS = 32


def read_unet(weights: Mapping[str, Tensor], heads: int, origin: str | Path) -> Any:
    """Make-An-Audio's U-Net as diffusers' UNet2DConditionModel, of the weights' sizes, for evaluation.

    Weights do not tell the attention's `heads`. Raises ValueError, naming `origin`, for weights that are missing,
    unknown or of another shape, or no U-Net of this kind.
    """
    from diffusers import UNet2DConditionModel

    config = unet_config(weights, heads, origin)
    for width in config["block_out_channels"]:
        if width % heads:
            raise ValueError(
                f"{origin}: blocks of {width} channels, which {heads} attention heads do not divide; set "
                "backbone.attention_heads to the checkpoint's, Make-An-Audio's are 8"
            )
    unet = UNet2DConditionModel(**config)
    load_exactly(unet, unet_weights(weights, config, origin), origin)
    return unet.eval()


def unet_weights(weights: Mapping[str, Tensor], config: Mapping[str, Any], origin: str | Path) -> dict[str, Tensor]:
    """A U-Net's weights under diffusers' names; those that its converter leaves out keep their own.

    Raises ValueError where one is missing that the converter asks for.
    """
    from diffusers.loaders.single_file_utils import LDM_UNET_KEY, convert_ldm_unet_checkpoint

    try:
        found = convert_ldm_unet_checkpoint({LDM_UNET_KEY + name: value for name, value in weights.items()}, config)
    except KeyError as error:
        raise ValueError(f"{origin}: no weight named {error.args[0]}; is it the checkpoint that was meant?") from None
    taken = {id(value) for value in found.values()}
    named = {name: value for name, value in found.items() if value is not None}
    return named | {name: value for name, value in weights.items() if id(value) not in taken}


def unet_config(weights: Mapping[str, Tensor], heads: int, origin: str | Path) -> dict[str, Any]:
    """What diffusers' U-Net has to be built with, read off names and shapes; every level attends to the context."""
    downsamplers = sorted(
        int(match[1]) for name in weights if (match := re.fullmatch(r"input_blocks\.(\d+)\.0\.op\.weight", name))
    )
    blocks = [int(match[1]) for name in weights if (match := re.match(r"input_blocks\.(\d+)\.", name))]
    if not blocks:
        raise ValueError(f"{origin}: no weights named input_blocks.*; take Make-An-Audio's own checkpoint")
    layers = (downsamplers[0] if downsamplers else max(blocks) + 1) - 1
    firsts = range(1, max(blocks) + 1, layers + 1)
    side = partial(_side, weights, origin, "U-Net of Make-An-Audio's kind")
    channels = [side(f"input_blocks.{first}.0.out_layers.3.weight", 4) for first in firsts]
    _check_groups(channels, origin)
    return {
        "in_channels": side("input_blocks.0.0.weight", 4, 1),
        "out_channels": side("out.2.weight", 4),
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "down_block_types": ("CrossAttnDownBlock2D",) * len(channels),
        "up_block_types": ("CrossAttnUpBlock2D",) * len(channels),
        "cross_attention_dim": side("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 2, 1),
        # diffusers' name says dimension, its Stable Diffusion U-Nets mean the number of heads.
        "attention_head_dim": heads,
        "norm_num_groups": NORM_GROUPS,
    }


def read_vae(weights: Mapping[str, Tensor], origin: str | Path) -> Any:
    """Make-An-Audio's VAE as diffusers' AutoencoderKL, of the weights' sizes, for evaluation.

    Raises ValueError for weights that are missing, unknown or of another shape, or no VAE of this kind.
    """
    from diffusers import AutoencoderKL

    config = vae_config(weights, origin)
    vae = AutoencoderKL(**config)
    load_exactly(vae, vae_weights(weights, len(config["block_out_channels"])), origin)
    return vae.eval()


def vae_config(weights: Mapping[str, Tensor], origin: str | Path) -> dict[str, Any]:
    """What diffusers' VAE has to be built with, read off names and shapes."""
    first = re.compile(r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight")
    levels = sorted(int(match[1]) for name in weights if (match := first.fullmatch(name)))
    side = partial(_side, weights, origin, "VAE of Make-An-Audio's kind")
    channels = [side(f"encoder.down.{level}.block.0.conv1.weight", 4) for level in levels]
    _check_groups(channels, origin)
    latent_channels, embedded = side("decoder.conv_in.weight", 4, 1), side("quant_conv.weight", 4) // 2
    if not levels or embedded != latent_channels:
        raise ValueError(
            f"{origin}: a VAE of {latent_channels} latent channels that are embedded in {embedded}; diffusers' has "
            "one number for both, as Make-An-Audio's has"
        )
    layers = sum(bool(re.fullmatch(r"encoder\.down\.0\.block\.\d+\.conv1\.weight", name)) for name in weights)
    down = [f"encoder.down.{level}.attn.0.norm.weight" in weights for level in levels]
    up = [f"decoder.up.{level}.attn.0.norm.weight" in weights for level in reversed(levels)]
    return {
        "in_channels": side("encoder.conv_in.weight", 4, 1),
        "out_channels": side("decoder.conv_out.weight", 4),
        "latent_channels": latent_channels,
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "down_block_types": tuple("AttnDownEncoderBlock2D" if here else "DownEncoderBlock2D" for here in down),
        "up_block_types": tuple("AttnUpDecoderBlock2D" if here else "UpDecoderBlock2D" for here in up),
        "mid_block_add_attention": "encoder.mid.attn_1.norm.weight" in weights,
        "norm_num_groups": NORM_GROUPS,
        "sample_size": 80,
    }


def vae_weights(weights: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """A VAE's weights under diffusers' names, attention's 1 x 1 convolutions as matrices, in single precision."""
    named = {}
    for name, value in weights.items():
        new = _vae_name(name, levels)
        is_matrix = ".attentions." in new and value.dim() == 4
        named[new] = (value[:, :, 0, 0] if is_matrix else value).float()
    return named


def _side(weights: Mapping[str, Tensor], origin: str | Path, kind: str, name: str, sides: int, which: int = 0) -> int:
    return shape_of(weights, name, sides, origin, kind)[which]


def _check_groups(channels: Sequence[int], origin: str | Path) -> None:
    odd = [width for width in channels if width % NORM_GROUPS]
    if odd:
        raise ValueError(
            f"{origin}: blocks of {odd[0]} channels; latent diffusion normalises them in groups of {NORM_GROUPS}"
        )


def _vae_name(name: str, levels: int) -> str:
    name = re.sub(r"\.down\.(\d+)\.", r".down_blocks.\1.", name)
    name = re.sub(r"\.up\.(\d+)\.", lambda match: f".up_blocks.{levels - 1 - int(match[1])}.", name)
    name = re.sub(r"_blocks\.(\d+)\.block\.", r"_blocks.\1.resnets.", name)
    name = re.sub(r"_blocks\.(\d+)\.attn\.", r"_blocks.\1.attentions.", name)
    for old, new in IN_VAE.items():
        name = name.replace(old, new)
    match = re.fullmatch(r"(.*\.attentions\.\d+\.)(.*)", name)
    if match:
        for old, new in IN_VAE_ATTENTION.items():
            if match[2].startswith(old):
                return match[1] + new + match[2].removeprefix(old)
    return name
