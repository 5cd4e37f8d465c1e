"""Make-An-Audio's published weights under diffusers' names.

Its U-Net is latent diffusion's (CompVis/latent-diffusion), whose blocks are numbered through all levels; diffusers
numbers them within a level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

UNET_PREFIX = "model.diffusion_model."
OUTSIDE_BLOCKS = {
    "time_embed.0.": "time_embedding.linear_1.",
    "time_embed.2.": "time_embedding.linear_2.",
    "input_blocks.0.0.": "conv_in.",
    "middle_block.0.": "mid_block.resnets.0.",
    "middle_block.1.": "mid_block.attentions.0.",
    "middle_block.2.": "mid_block.resnets.1.",
    "out.0.": "conv_norm_out.",
    "out.2.": "conv_out.",
}
IN_RESNETS = {
    "in_layers.0.": "norm1.",
    "in_layers.2.": "conv1.",
    "emb_layers.1.": "time_emb_proj.",
    "out_layers.0.": "norm2.",
    "out_layers.3.": "conv2.",
    "skip_connection.": "conv_shortcut.",
}


def unet_weights(checkpoint: Mapping[str, Tensor], layers_per_block: int) -> dict[str, Tensor]:
    """The checkpoint's U-Net for a diffusers U-Net of `layers_per_block`, in single precision.

    Raises ValueError where the checkpoint holds no U-Net.
    """
    names = [name for name in checkpoint if name.startswith(UNET_PREFIX)]
    if not names:
        raise ValueError(f"checkpoint: no weights named {UNET_PREFIX}*; take Make-An-Audio's own checkpoint")
    return {_unet_name(name.removeprefix(UNET_PREFIX), layers_per_block): checkpoint[name].float() for name in names}


def _unet_name(name: str, layers_per_block: int) -> str:
    for old, new in OUTSIDE_BLOCKS.items():
        if name.startswith(old):
            return _in_resnet(name.replace(old, new, 1))
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.*)", name)
    assert match, name
    side, number, part, rest = match[1], int(match[2]), int(match[3]), match[4]
    if side == "input":
        level, layer = divmod(number - 1, layers_per_block + 1)
        block = f"down_blocks.{level}."
        if layer == layers_per_block:
            return block + "downsamplers.0." + rest.replace("op.", "conv.", 1)
    else:
        level, layer = divmod(number, layers_per_block + 1)
        block = f"up_blocks.{level}."
    if rest.startswith("conv."):
        return block + "upsamplers.0." + rest
    return _in_resnet(f"{block}{'attentions' if part else 'resnets'}.{layer}.{rest}")


def _in_resnet(name: str) -> str:
    for old, new in IN_RESNETS.items():
        name = name.replace(f".{old}", f".{new}")
    return name
