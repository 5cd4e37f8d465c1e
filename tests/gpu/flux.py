"""FLUX.1-schnell's transformer at its true size, held in 8 or 4 bits, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stages.imagery.flux import hold_in_fp8
from stages.plumbing.device import device
from tests.gpu.measuring import measured
from tests.gpu.run import Numbers

VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}


def draw(kind: str, size: Numbers, vae: Numbers, pixels: int) -> Numbers:
    """One image of 4 steps by a FLUX pipeline; its text encoders are left out, what they give is made up."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**size).to(torch.bfloat16).eval().requires_grad_(False)
    if kind == "fp8":
        hold_in_fp8(transformer)
        fill(transformer)
    else:
        fill_in_nf4(transformer)
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(**vae).to(torch.bfloat16).to(device()),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    config = transformer.config
    halves: Numbers = {"dtype": torch.bfloat16, "device": device()}

    def image() -> Any:
        return pipeline(
            prompt_embeds=torch.ones(1, 256, config.joint_attention_dim, **halves),
            pooled_prompt_embeds=torch.ones(1, config.pooled_projection_dim, **halves),
            height=pixels,
            width=pixels,
            num_inference_steps=4,
            guidance_scale=0.0,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images

    pixel_values, found = measured(image, 2)
    if not pixel_values.isfinite().all():
        raise ValueError("the image holds values that are no numbers")
    stored = sum(parameter.numel() * parameter.element_size() for parameter in transformer.parameters())
    return found | {"transformer_gb": round(stored / 1e9, 3)}


def fill(network: nn.Module) -> None:
    """Give a network that was built without memory random weights on the device, each in its own type."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                module._parameters[name] = nn.Parameter(drawn(parameter), requires_grad=False)


def drawn(parameter: Tensor) -> Tensor:
    """Random values in the shape and type of a parameter, on the device: small matrices, and vectors of ones."""
    if parameter.dim() < 2:
        return torch.ones(parameter.shape, dtype=parameter.dtype, device=device())
    values = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device())
    return values.normal_(0, 0.02).to(parameter.dtype)


def fill_in_nf4(network: nn.Module) -> None:
    """Random weights, those of linear layers in 4 bits by bitsandbytes. Raises ImportError where it is missing."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for module in list(network.modules()):
        for name, linear in list(module.named_children()):
            if type(linear) is nn.Linear:
                four = Linear4bit(
                    linear.in_features,
                    linear.out_features,
                    bias=linear.bias is not None,
                    compute_dtype=torch.bfloat16,
                    quant_type="nf4",
                    device="meta",
                )
                weight = Params4bit(drawn(linear.weight).cpu(), requires_grad=False, quant_type="nf4")
                four.weight = weight.to(device())
                if linear.bias is not None:
                    four.bias = nn.Parameter(drawn(linear.bias), requires_grad=False)
                setattr(module, name, four)
    fill(network)
