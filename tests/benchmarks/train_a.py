"""An update of experiment A on embeddings, beside the same update with the frozen towers in the loop.

Random weights of the published sizes, batches of 4, float32, one update each. The peer's seconds are the update's and
those of what the original description computes in every step: ImageBind's text and image, CLAP's tokens, the VAE's
latents. Embedded once, they are the same numbers.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from stages.experiments.experiment_a import ExperimentA
from stages.full_size.memory import full_codec, full_denoiser, full_imagebind
from stages.full_size.stand_ins import BERT_BASE
from stages.params.schema import load_params
from stages.synthesis.codec import build_vae, encode_mel
from stages.synthesis.unet import Denoiser, build_denoiser
from stages.towers import imagebind as ib
from stages.towers.clap import Clap, TextTower
from stages.training.determinism import be_deterministic
from stages.training.diffusion import random_diffusion_loss
from stages.training.loop import clip_gradients
from stages.training.optimizers import build_optimizer
from tests.benchmarks.table import Row, timed
from tests.benchmarks.train_b import FULL, SMALL, Size
from tests.benchmarks.updates import ROOT

BATCH = 4


def rows(small: bool) -> list[Row]:
    """Both stages."""
    be_deterministic()
    size = SMALL if small else FULL
    towers = timed_towers(size, small)
    network = ExperimentA(
        {
            "fusion": "mean",
            "embedding_dim": size.embedding,
            "context_dim": size.context,
            "context_tokens": 1,
            "length": size.tokens,
        },
        denoiser(small),
    ).train()
    found = []
    for stage in (1, 2):
        network.denoiser.requires_grad_(stage == 2)
        seconds = timed(partial(update_a, network, size))
        what = f"an update of A's stage {stage} at batch {BATCH}, beside ImageBind, CLAP and VAE in every step"
        found.append(Row(f"train_a_stage_{stage}", what, seconds, seconds + towers))
    return found


@torch.no_grad()
def timed_towers(size: Size, small: bool) -> float:
    """Seconds in which the frozen towers embed a batch; they are gone when this returns."""
    params = load_params(ROOT / "params.yaml")
    assert params.encoders.source == "trained"
    assert params.codec.source == "trained"
    imagebind = ib.build_imagebind(params.encoders.imagebind).eval() if small else full_imagebind()
    text: nn.Module = Clap(params.encoders.clap, 100).caption_encoder if small else TextTower(BERT_BASE, size.context)
    vae = build_vae(params.codec.vae) if small else full_codec().vae
    pictures = torch.zeros(BATCH, 3, 224, 224, dtype=torch.uint8)
    words = ib.tokenize(["three slow rings of a small bell"] * BATCH)
    tokens, mels = torch.ones(BATCH, size.tokens, dtype=torch.long), torch.randn(BATCH, 80, 8 * size.columns)

    def embed() -> None:
        ib.embed_texts(imagebind, words)
        ib.embed_images(imagebind, pictures)
        text.eval()(tokens)
        encode_mel(vae.eval(), mels)

    return timed(embed)


def denoiser(small: bool) -> Denoiser:
    """Make-An-Audio's U-Net, or the miniature's."""
    params = load_params(ROOT / "params.yaml").backbone
    assert params.source == "trained"
    return build_denoiser(params, 4, SMALL.context) if small else full_denoiser()


def update_a(network: ExperimentA, size: Size) -> None:
    """One update of what requires gradients."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = build_optimizer("adamw", trainable, 1e-5)
    text, image = torch.randn(2, BATCH, size.embedding)
    latents = torch.randn(BATCH, 4, 10, size.columns)
    random_diffusion_loss(network.denoiser, latents, network.context(text, image), "plain").backward()
    clip_gradients(trainable)
    optimizer.step()
    network.zero_grad(set_to_none=True)
