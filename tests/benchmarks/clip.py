"""One guided step of the U-Net, and a clip of 9.984 s from a text and an image, at full size with random weights.

The step's peer is the U-Net as diffusers' pipelines call it. Limits are products, convolutions and attention at the
rate of one large product.
The clip's peer is Make-An-Audio's recipe with the same weights: DDIM with 100 steps, guidance 3 in each, BigVGAN's
plain layers. A clip's seconds are the sum of its parts', each measured: ImageBind and B's context, so many evaluations
alone and in pairs as the setting takes, decoding. The fast setting's clip is also made as a whole, once. The largest
difference is that of two decodings of one latent.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stages.experiments.experiment_b import ExperimentB
from stages.full_size.memory import full_codec, full_imagebind
from stages.inference.run import FAST
from stages.params.schema import load_params
from stages.synthesis.bigvgan import BigVGAN
from stages.synthesis.codec import Codec, build_vae
from stages.synthesis.samplers import guided, sample_latents
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import Denoiser
from stages.towers import imagebind as ib
from tests.benchmarks.fewer_steps import MAKE_AN_AUDIO as RECIPE
from tests.benchmarks.table import Row, beside, timed
from tests.benchmarks.train_a import denoiser
from tests.benchmarks.train_b import FULL, SMALL, Size
from tests.benchmarks.updates import ROOT, products_a_second


@torch.no_grad()
def rows(small: bool) -> list[Row]:
    """The step, and the clip by the full preset and by the fast setting."""
    torch.manual_seed(0)
    size, unet = SMALL if small else FULL, denoiser(small).eval()
    shape, empty = (4, 10, size.columns), torch.randn(size.tokens, size.context)
    latents, conditioning, codec = torch.randn(1, *shape), conditioning_of(size, small), codec_of(size, small)
    context = conditioning()
    ours = partial(guided(unet, context, empty, 3.0), latents, 500)
    limit = partial(seconds_at, products_a_second(256 if small else 2048))
    step = beside(
        "unet_step",
        "a guided step of the U-Net (160 M), beside diffusers' pipelines",
        ours,
        partial(as_pipelines_do, unet.unet, latents, torch.cat([empty[None], context]), 3.0),
        repeats=1 if small else 3,
        limit_s=limit(ours),
    )
    plain = deepcopy(codec.vocoder)
    decoding = beside("", "", partial(codec.decode, latents), lambda: plain(codec.decode_mel(latents)), repeats=1)
    once = partial(unet, latents, torch.tensor(500), context)
    alone, pair = median_seconds(once), step.ours_s
    embedded, whole = timed(conditioning), partial(sample_latents, unet, empty=empty, seeds=[0], latent_shape=shape)
    assert decoding.peer_s
    least = (limit(conditioning), limit(once), limit(ours), limit(partial(codec.decode, latents)))
    peer = embedded + evaluations(RECIPE, size)[1] * min(2 * alone, pair) + decoding.peer_s
    preset = load_params(ROOT / "presets/full.yaml").sample
    own: dict[str, Any] = {key: getattr(preset, key) for key in RECIPE}
    fast, found = own | FAST, [step]
    for name, setting in (("clip_default", own), ("clip_fast", fast)):
        single, pairs = evaluations(setting, size)
        what = (
            f"a clip from a text and an image by {'--fast' if setting is fast else 'presets/full.yaml'}: {single} "
            f"evaluations of the U-Net and {pairs} pairs, beside Make-An-Audio's 100 pairs; context {embedded:.2g} s, "
            f"an evaluation {alone:.2g} s, a pair {pair:.2g} s, decoding {decoding.ours_s:.2g} s, plainly "
            f"{decoding.peer_s:.2g} s"
        )
        if setting is fast:
            seconds = timed(lambda: codec.decode(whole(context=conditioning(), **fast)))
            what += f"; made as a whole {seconds:.3g} s"
        seconds = embedded + single * alone + pairs * pair + decoding.ours_s
        least_s = least[0] + single * least[1] + pairs * least[2] + least[3]
        found.append(Row(name, what, seconds, peer, decoding.max_abs_diff, least_s))
    return found


def as_pipelines_do(unet: Any, latents: Tensor, contexts: Tensor, scale: float) -> Tensor:
    """One step as diffusers' pipelines take it; a pooled context is the miniature's alone."""
    pooled = contexts[:, 0] if unet.config.class_embed_type else None
    twice = torch.cat([latents] * 2)
    noise = unet(twice, 500, encoder_hidden_states=contexts, class_labels=pooled, return_dict=False)[0]
    without, conditioned = noise.chunk(2)
    guided_noise: Tensor = without + scale * (conditioned - without)
    return guided_noise


def evaluations(setting: dict[str, Any], size: Size) -> tuple[int, int]:
    """How often a sampler of this setting asks the U-Net alone and in pairs."""
    asked: list[int] = []

    class Counting(Denoiser):
        def forward(self, noisy: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
            asked.append(len(noisy))
            return noisy

    shape, context = (4, 10, size.columns), torch.zeros(1, size.tokens, size.context)
    counting = Counting(torch.nn.Linear(1, 1), MAKE_AN_AUDIO)
    sample_latents(counting, context, context[0], seeds=[0], latent_shape=shape, **setting)
    return asked.count(1), asked.count(2)


def conditioning_of(size: Size, small: bool) -> Callable[[], Tensor]:
    """What embeds a text and an image and makes B's context of them."""
    params = load_params(ROOT / "params.yaml")
    assert params.encoders.source == "trained"
    imagebind = ib.build_imagebind(params.encoders.imagebind).eval() if small else full_imagebind()
    config = load_params(ROOT / ("params.yaml" if small else "presets/full.yaml")).train_b
    b = {"fusion": config.fusion, "embedding_dim": size.embedding}
    b |= config.model_dump(include={"width", "blocks", "heads", "linear_path", "centre"})
    network = ExperimentB(b, torch.randn(size.tokens, size.context)).eval()
    words, picture = ib.tokenize(["three slow rings"]), torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    return lambda: network.context(ib.embed_texts(imagebind, words), ib.embed_images(imagebind, picture))


def codec_of(size: Size, small: bool) -> Codec:
    """The published codec, or the miniature's."""
    params = load_params(ROOT / "params.yaml").codec
    assert params.source == "trained"
    if not small:
        return full_codec()
    return Codec(build_vae(params.vae).eval(), BigVGAN(params.vocoder).eval(), 1.0, (4, 10, size.columns))


def seconds_at(products_a_second: float, run: Callable[[], object]) -> float:
    """Seconds of what a call multiplies, at so many operations a second."""
    with FlopCounterMode(display=False) as counted:
        run()
    flops: int = counted.get_total_flops()
    return flops / products_a_second


def median_seconds(run: Callable[[], object]) -> float:
    """Seconds of three calls, the median; one before them does not count."""
    run()
    return sorted(timed(run) for _ in range(3))[1]
