"""Networks of the published sizes with small random weights: what `bind-an-audio memory` measures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.formats.files import read_json
from stages.full_size.stand_ins import SHAPES
from stages.full_size.weights import BERT_BASE, BIGVGAN, CONTEXT_DIM
from stages.params.schema import load_params
from stages.published.diffusers_names import unet_config, vae_config
from stages.published.make_an_audio import UNET, VAE
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.codec import Codec
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import Denoiser
from stages.towers import imagebind as ib
from stages.towers.clap import TextTower
from stages.weights.fitting import without_prefix

HEADS, COLUMNS, TOKENS, EMBEDDING_DIM = 8, 78, 77, 1024


def full_denoiser() -> Denoiser:
    """Make-An-Audio's U-Net."""
    from diffusers import UNet2DConditionModel

    return Denoiser(UNet2DConditionModel(**unet_config(_published(UNET), HEADS, SHAPES)), MAKE_AN_AUDIO)


def full_codec() -> Codec:
    """Make-An-Audio's VAE and BigVGAN, for clips of 10 s."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**vae_config(_published(VAE), SHAPES)).eval()
    return Codec(vae, BigVGAN(BIGVGAN).eval(), 1.0, (vae.config.latent_channels, 10, COLUMNS))


def full_text_tower() -> TextTower:
    """Make-An-Audio's text tower."""
    return TextTower(BERT_BASE, CONTEXT_DIM).eval()


def full_imagebind() -> nn.Module:
    """ImageBind-huge's text and vision towers, built without the time and memory of the package's own beginning."""
    encoders = load_params("presets/full.yaml").encoders
    assert encoders.source == "pretrained"
    with ib.WithoutMemory():
        model = ib.build_imagebind(encoders.imagebind, ("text", "vision"))
    for name, weight in model.named_parameters():
        module, _, last = name.rpartition(".")
        setattr(model.get_submodule(module), last, nn.Parameter(torch.empty(weight.shape).normal_(0, 0.02)))
    return model.eval()


def _published(prefix: str) -> dict[str, Tensor]:
    """The weights below a prefix of Make-An-Audio's checkpoint, without memory."""
    named = {name: torch.empty(shape, device="meta") for name, shape in read_json(SHAPES).items()}
    return without_prefix(named, prefix)
