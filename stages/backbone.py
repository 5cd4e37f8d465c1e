"""Train the backbone: Make-An-Audio's latent diffusion U-Net with CLAP's text token features as its context.

Command: `python -m stages.backbone`
Reads:   data/quality/accepted.jsonl, data/corpus/, models/encoders/, models/codec/
Writes:  models/backbone/, metrics/backbone.json
Runtime: about 6 minutes for 2,400 updates on 2 cores.

The loss is the squared error of the velocity or the noise, as `backbone.prediction` says, weighted by timestep as
`backbone.loss_weighting` says; a share of the captions is dropped to "" for classifier-free guidance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.corpus.clips import accepted_clips, foundation_split
from stages.formats.files import replacing_folder, write_json
from stages.params.models import PublishedBackbone
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.progress import progress
from stages.plumbing.running import run
from stages.published.diffusers_names import read_unet
from stages.published.make_an_audio import read_make_an_audio
from stages.synthesis.codec import Codec, load_codec
from stages.synthesis.mel import mel_spectrogram
from stages.synthesis.schedule import MAKE_AN_AUDIO
from stages.synthesis.unet import BACKBONE, Denoiser, build_denoiser, save_denoiser
from stages.towers.clap import Tokenizer
from stages.towers.store import TextNetwork, load_clap
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import batch_indices, be_deterministic
from stages.training.diffusion import drop_context, fixed_diffusion_loss, random_diffusion_loss
from stages.training.loop import CurveRow, train_by_schedule
from stages.training.stored import PIECE, stored, waveform_pieces
from stages.training.work import remove_work, work_folder


def main() -> None:
    """Encode latents and captions once, train, write the averaged weights."""
    params = load_params().backbone
    if params.source == "pretrained":
        convert(params)
        return
    be_deterministic(params.seed)
    work = work_folder("backbone")
    codec = load_codec()
    clap, tokenizer = load_clap()
    latents, context = encode_split(split := foundation_split(), codec, clap, tokenizer, work)
    valid_latents, valid_context = encode_split("valid", codec, clap, tokenizer, work)
    with torch.no_grad():
        empty = clap.token_features(tokenizer([""]))[0]
    denoiser = build_denoiser(params, latents.shape[1], context.shape[2])
    schedule = params.training

    def loss(update: int) -> Tensor:
        batch = batch_indices(update, len(latents), schedule.batch_size, params.seed, "backbone")
        conditioned = drop_context(context[batch], empty, params.caption_dropout)
        return random_diffusion_loss(denoiser, latents[batch], conditioned, params.loss_weighting)

    def validate(network: torch.nn.Module) -> CurveRow:
        assert isinstance(network, Denoiser)
        return validation_losses(network, valid_latents, valid_context, empty)

    trained = train_by_schedule(
        denoiser,
        loss,
        schedule,
        name="backbone",
        seed=params.seed,
        work=work,
        validate=validate,
        ema_decay=params.ema_decay,
    )
    denoiser.load_state_dict(trained.last)
    with replacing_folder(BACKBONE) as folder:
        save_denoiser(folder, denoiser)
    last = trained.curve[-1]
    metrics: dict[str, Any] = {name: round(last[name], 4) for name in last if name not in ("epoch", "updates")}
    metrics["trained_on"] = split
    metrics |= {"updates": schedule.updates, "parameters": sum(p.numel() for p in denoiser.parameters())}
    write_json("metrics/backbone.json", metrics)
    remove_work(work)
    log_stage("backbone", metrics, {"backbone": trained.curve})


@torch.no_grad()
def convert(params: PublishedBackbone) -> None:
    """Take Make-An-Audio's published U-Net instead, and measure it on the validation split."""
    be_deterministic()
    denoiser = read_denoiser(params.weights, params.attention_heads)
    with replacing_folder(BACKBONE) as folder:
        save_denoiser(folder, denoiser)
    denoiser, codec = denoiser.to(device()), load_codec().to(device())
    clap, tokenizer = load_clap()
    clap.to(device())
    encoded = encode_split("valid", codec, clap, tokenizer, work_folder("backbone"), device())
    latents, context = (part.to(device()) for part in encoded)
    empty = clap.token_features(tokenizer([""]).to(device()))[0]
    losses = validation_losses(denoiser, latents, context, empty)
    metrics = {name: round(loss, 4) for name, loss in losses.items()}
    metrics["parameters"] = sum(p.numel() for p in denoiser.parameters())
    write_json("metrics/backbone.json", metrics)
    log_stage("backbone", metrics, {})


def read_denoiser(weights: str | Path, heads: int) -> Denoiser:
    """Make-An-Audio's published U-Net from the files in the folder `weights`, for evaluation.

    Raises ValueError for files that are missing, broken or of other sizes.
    """
    checkpoint = read_make_an_audio(weights)
    return Denoiser(read_unet(checkpoint.unet, heads, checkpoint.path), MAKE_AN_AUDIO).eval()


def validation_losses(denoiser: Denoiser, latents: Tensor, context: Tensor, empty: Tensor) -> dict[str, float]:
    """The diffusion loss of latents `[N, C, 10, W]` under their captions `[N, T, C]`, and under "" `[T, C]` alike."""
    return {
        "validation_diffusion_loss": fixed_diffusion_loss(denoiser, latents, context),
        "validation_diffusion_loss_unconditioned": fixed_diffusion_loss(denoiser, latents, empty.expand_as(context)),
    }


def encode_split(
    split: str, codec: Codec, clap: TextNetwork, tokenizer: Tokenizer, work: Path, runs_on: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Scaled latents `[N, C, 10, W]` and CLAP token features `[N, 77, C]` of a split; `clap` lies on `runs_on`."""
    rows = accepted_clips(split)
    waveforms = progress(waveform_pieces(rows), f"latents {split}", -(-len(rows) // PIECE))
    latents = stored(work / "latents", (codec.encode(mel_spectrogram(part)) for part in waveforms))
    tokens = tokenizer([row["caption"] for row in rows])
    return latents, stored(work / "context", (clap.token_features(part.to(runs_on)).cpu() for part in tokens.split(64)))


if __name__ == "__main__":
    run(main)
