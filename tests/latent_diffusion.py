"""Names and shapes of latent diffusion's U-Net and VAE at any size, as its checkpoints have them."""

from __future__ import annotations

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]


def unet_shapes(
    channels: Sequence[int],
    layers: int,
    attends: Sequence[bool],
    depth: int,
    context: int,
    scale_shift: bool = False,
    linear: bool = False,
) -> Shapes:
    """The U-Net's, without a prefix: `attends` by level, `depth` blocks to a transformer."""
    shapes: Shapes = {}
    embedded = 4 * channels[0]

    def both(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def resnet(name: str, inputs: int, width: int) -> None:
        both(f"{name}.in_layers.0", inputs)
        both(f"{name}.in_layers.2", width, inputs, 3, 3)
        both(f"{name}.emb_layers.1", 2 * width if scale_shift else width, embedded)
        both(f"{name}.out_layers.0", width)
        both(f"{name}.out_layers.3", width, width, 3, 3)
        if inputs != width:
            both(f"{name}.skip_connection", width, inputs, 1, 1)

    def transformer(name: str, width: int) -> None:
        both(f"{name}.norm", width)
        for end in ("proj_in", "proj_out"):
            both(f"{name}.{end}", width, width, *([] if linear else [1, 1]))
        for number in range(depth):
            block = f"{name}.transformer_blocks.{number}"
            for attention, read in (("attn1", width), ("attn2", context)):
                shapes[f"{block}.{attention}.to_q.weight"] = (width, width)
                shapes[f"{block}.{attention}.to_k.weight"] = shapes[f"{block}.{attention}.to_v.weight"] = (width, read)
                both(f"{block}.{attention}.to_out.0", width, width)
            both(f"{block}.ff.net.0.proj", 8 * width, width)
            both(f"{block}.ff.net.2", width, 4 * width)
            for norm in ("norm1", "norm2", "norm3"):
                both(f"{block}.{norm}", width)

    both("time_embed.0", embedded, channels[0])
    both("time_embed.2", embedded, embedded)
    both("input_blocks.0.0", channels[0], 4, 3, 3)
    block, width, skipped = 1, channels[0], [channels[0]]
    for level, outputs in enumerate(channels):
        for _ in range(layers):
            resnet(f"input_blocks.{block}.0", width, outputs)
            width = outputs
            if attends[level]:
                transformer(f"input_blocks.{block}.1", width)
            skipped.append(width)
            block += 1
        if level + 1 < len(channels):
            both(f"input_blocks.{block}.0.op", width, width, 3, 3)
            skipped.append(width)
            block += 1
    resnet("middle_block.0", width, width)
    transformer("middle_block.1", width)
    resnet("middle_block.2", width, width)
    block = 0
    for level in reversed(range(len(channels))):
        for layer in range(layers + 1):
            resnet(f"output_blocks.{block}.0", width + skipped.pop(), channels[level])
            width = channels[level]
            if attends[level]:
                transformer(f"output_blocks.{block}.1", width)
            if level and layer == layers:
                both(f"output_blocks.{block}.{2 if attends[level] else 1}.conv", width, width, 3, 3)
            block += 1
    both("out.0", width)
    both("out.2", 4, width, 3, 3)
    return shapes


def vae_shapes(channels: Sequence[int], layers: int, latent_channels: int) -> Shapes:
    """The VAE's, without a prefix, with attention in the middle alone."""
    shapes: Shapes = {}

    def both(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def resnet(name: str, inputs: int, width: int) -> None:
        both(f"{name}.norm1", inputs)
        both(f"{name}.conv1", width, inputs, 3, 3)
        both(f"{name}.norm2", width)
        both(f"{name}.conv2", width, width, 3, 3)
        if inputs != width:
            both(f"{name}.nin_shortcut", width, inputs, 1, 1)

    def middle(half: str, width: int) -> None:
        resnet(f"{half}.mid.block_1", width, width)
        both(f"{half}.mid.attn_1.norm", width)
        for matrix in ("q", "k", "v", "proj_out"):
            both(f"{half}.mid.attn_1.{matrix}", width, width, 1, 1)
        resnet(f"{half}.mid.block_2", width, width)

    width = channels[0]
    both("encoder.conv_in", width, 1, 3, 3)
    for level, outputs in enumerate(channels):
        for layer in range(layers):
            resnet(f"encoder.down.{level}.block.{layer}", width, outputs)
            width = outputs
        if level + 1 < len(channels):
            both(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    middle("encoder", width)
    both("encoder.norm_out", width)
    both("encoder.conv_out", 2 * latent_channels, width, 3, 3)
    both("quant_conv", 2 * latent_channels, 2 * latent_channels, 1, 1)
    both("post_quant_conv", latent_channels, latent_channels, 1, 1)
    both("decoder.conv_in", width, latent_channels, 3, 3)
    middle("decoder", width)
    for level in reversed(range(len(channels))):
        for layer in range(layers + 1):
            resnet(f"decoder.up.{level}.block.{layer}", width, channels[level])
            width = channels[level]
        if level:
            both(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    both("decoder.norm_out", width)
    both("decoder.conv_out", 1, width, 3, 3)
    return shapes
