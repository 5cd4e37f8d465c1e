"""Make-An-Audio's published checkpoint (`maa1_full.ckpt`, `maa1_caps.ckpt`) taken apart: U-Net, VAE, text tower.

A Lightning checkpoint of latent diffusion (CompVis/latent-diffusion): weights by name under `state_dict`, beside them
trainer objects that nobody needs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from stages.weights.fitting import some, without_prefix
from stages.weights.reading import only_one, read_weights

CHECKPOINTS = ("maa1_full.ckpt", "maa1_caps.ckpt")
UNET = "model.diffusion_model."
VAE = "first_stage_model."
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
TEXT = "cond_stage_model.caption_encoder."
# Beside the weights: the noise schedule, which is computed here, and the VAE's discriminator and perceptual loss.
SCHEDULE = ("betas", "alphas_cumprod", "log_one_minus_", "posterior_", "sqrt_", "lvlb_weights", "logvar")
TRAINING_ONLY = "first_stage_model.loss."


@dataclass(frozen=True)
class MakeAnAudio:
    """The parts of a checkpoint, each under the names that it has without its prefix; `path` is for messages."""

    path: Path
    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: dict[str, Tensor]
    scale_factor: float


def read_make_an_audio(folder: str | Path) -> MakeAnAudio:
    """Read the one checkpoint of Make-An-Audio in the folder and give every weight to its part.

    Raises ValueError where there is none or both, for what `read_weights` refuses, for a weight that belongs to no
    part, and for a missing part.
    """
    path = only_one(folder, CHECKPOINTS)
    weights = read_weights(path, within=("state_dict",))
    known = (UNET, TEXT, *(VAE + part for part in VAE_PARTS), *SCHEDULE, TRAINING_ONLY, "scale_factor")
    unknown = [name for name in weights if not name.startswith(known) and not name.endswith("position_ids")]
    if unknown:
        raise ValueError(f"{path}: {len(unknown)} weights of no known part ({some(unknown)}); take {CHECKPOINTS[0]}")
    vae = {name: value for name, value in without_prefix(weights, VAE).items() if name.startswith(VAE_PARTS)}
    parts = {UNET: without_prefix(weights, UNET), VAE: vae, TEXT: without_prefix(weights, TEXT)}
    for prefix, part in parts.items():
        if not part:
            raise ValueError(f"{path}: no weights named {prefix}*; take Make-An-Audio's own {CHECKPOINTS[0]}")
    if "scale_factor" not in weights:
        raise ValueError(f"{path}: no scale_factor, by which latents are scaled; take {CHECKPOINTS[0]}")
    scale = weights["scale_factor"]
    if scale.numel() != 1 or float(scale) <= 0:
        raise ValueError(
            f"{path}: scale_factor is {scale.flatten().tolist()[:3]}, not one number above 0; get it again"
        )
    return MakeAnAudio(path, parts[UNET], vae, parts[TEXT], float(scale))
