"""Train the codec: a mel VAE and a BigVGAN vocoder, on mels in Make-An-Audio's format.

Command: `python -m stages.codec`
Reads:   data/quality/accepted.jsonl, data/corpus/
Writes:  models/codec/, metrics/codec.json
Runtime: about 4 minutes for 2,560 training clips on 2 cores.

The VAE learns by mel error and a small KL term. BigVGAN learns without discriminators, by errors of mels and spectra;
half of its batches hold mels as the VAE decodes them, which is what it will be given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.corpus.clips import accepted_clips, foundation_split, read_waveforms
from stages.formats.audio import HOP_LENGTH
from stages.formats.files import replacing_folder, write_json
from stages.params.models import PublishedCodec, TrainedCodec
from stages.params.schema import load_params
from stages.plumbing.device import device
from stages.plumbing.running import run
from stages.published.codec import convert_codec
from stages.synthesis.bigvgan import BigVGAN, options_of
from stages.synthesis.codec import CODEC, build_vae, decode_latent, encode_mel, load_codec, save_codec
from stages.synthesis.codec_losses import mel_error, vocoder_loss
from stages.synthesis.mel import mel_spectrogram
from stages.tracking.stage_runs import log_stage
from stages.training.determinism import batch_indices, be_deterministic, derive_seed
from stages.training.loop import CurveRow, Trained, train_by_schedule
from stages.training.stored import PIECE, stored, waveform_pieces
from stages.training.work import remove_work, work_folder

FULL_SCALE = 32_768  # of a waveform of 16 bit, as clips lie on the disk


def main() -> None:
    """Train the VAE, measure its latents' scale, train BigVGAN, report both on the validation split."""
    params = load_params().codec
    if params.source == "pretrained":
        convert(params)
        return
    be_deterministic(params.seed)
    split = foundation_split()
    work = work_folder("codec")
    rows = accepted_clips(split)
    waveforms = stored(work / "waveforms", ((FULL_SCALE * part).short() for part in waveform_pieces(rows)))
    mels, valid_mels = (
        stored(work / "mels", map(mel_spectrogram, waveform_pieces(part))) for part in (rows, accepted_clips("valid"))
    )
    vae = build_vae(params.vae)
    vae_run = train_vae(vae, mels, valid_mels, params, work)
    vae.load_state_dict(vae_run.last)
    vae.eval().requires_grad_(False)
    latents = stored(work / "latents", (encode_mel(vae, part) for part in mels.split(PIECE)))
    decoded = stored(work / "decoded", (decode_latent(vae, part) for part in latents.split(PIECE)))
    vocoder = BigVGAN(params.vocoder)
    vocoder_run = train_vocoder(vocoder, waveforms, mels, decoded, params, work)
    scale_factor, shape = params.vae.latent_deviation / float(latents.std()), list(latents.shape[1:])
    with replacing_folder(CODEC) as folder:
        save_codec(folder, vae, vocoder_run.last, options_of(params.vocoder), scale_factor, shape)
    metrics = {**report(valid_mels), "trained_on": split}
    write_json("metrics/codec.json", metrics)
    remove_work(work)
    log_stage("codec", metrics, {"vae": vae_run.curve, "vocoder": vocoder_run.curve})


def convert(params: PublishedCodec) -> None:
    """Take Make-An-Audio's published VAE and BigVGAN instead, and report them on the validation split."""
    be_deterministic()
    rows = accepted_clips("valid")
    with replacing_folder(CODEC) as folder:
        convert_codec(folder, params.weights, read_waveforms(rows[:1]).shape[1])
    metrics = report(stored(work_folder("codec") / "mels", map(mel_spectrogram, waveform_pieces(rows))))
    write_json("metrics/codec.json", metrics)
    log_stage("codec", metrics, {})


def train_vae(vae: Any, mels: Tensor, valid_mels: Tensor, params: TrainedCodec, work: Path) -> Trained:
    """Mel error plus `kl_weight` times the KL divergence per latent value."""
    schedule, frames = params.vae_training, params.vae.segment_frames
    start_near_the_mean(vae, mels)

    def loss(update: int) -> Tensor:
        batch = batch_indices(update, len(mels), schedule.batch_size, params.seed, "vae")
        starts = segment_starts(len(batch), mels.shape[2], frames, params.seed, update)
        mel = cut(mels[batch], starts, frames)[:, None]
        posterior = vae.encode(mel).latent_dist
        error = mel_error(vae.decode(posterior.sample()).sample, mel)
        kl_divergence = posterior.kl().mean() / posterior.mean[0].numel()
        total: Tensor = error + params.vae.kl_weight * kl_divergence
        return total

    def validate(network: nn.Module) -> CurveRow:
        errors = [
            (decode_latent(network, encode_mel(network, part)) - part).abs().sum() for part in valid_mels.split(PIECE)
        ]
        return {"validation_mel_error": float(sum(errors) / valid_mels.numel())}

    return train_by_schedule(
        vae, loss, schedule, name="vae", seed=params.seed, work=work, epochs=8, validate=validate, ema_decay=0.98
    )


def start_near_the_mean(vae: Any, mels: Tensor) -> None:
    """Let the VAE start as if mels were standardised, its residual branches silent (Goyal et al. 2017, section 5.1).

    Raw log mels lie far from zero: without this the first updates would go into learning their mean.
    """
    with torch.no_grad():
        nn.init.constant_(vae.decoder.conv_out.bias, float(mels.mean()))
        enter = vae.encoder.conv_in
        enter.weight.div_(mels.std())
        enter.bias.sub_(enter.weight.sum(dim=(1, 2, 3)) * mels.mean())
        for name, parameter in vae.named_parameters():
            if ".resnets." in name and ".conv2." in name:
                parameter.zero_()


def train_vocoder(
    vocoder: BigVGAN, waveforms: Tensor, mels: Tensor, decoded: Tensor, params: TrainedCodec, work: Path
) -> Trained:
    """Segments of real mels and of decoded ones in turn, both against the real waveform `[N, samples]`, of 16 bit."""
    schedule, frames = params.vocoder_training, params.vocoder.segment_frames
    # Log mels lie far from zero and within little: the first layer starts as if they were standardised. And most clips
    # are quiet: the last layer starts so, too.
    with torch.no_grad():
        vocoder.conv_pre.weight.div_(mels.std())
        bias = vocoder.conv_pre.bias
        assert bias is not None
        bias.sub_(vocoder.conv_pre.weight.sum(dim=(1, 2)) * mels.mean())
        vocoder.conv_post.weight.mul_(0.1)

    def loss(update: int) -> Tensor:
        batch = batch_indices(update, len(mels), schedule.batch_size, params.seed, "vocoder")
        starts = segment_starts(len(batch), mels.shape[2], frames, params.seed, update)
        mel = cut((mels if update % 2 else decoded)[batch], starts, frames)
        target = cut(waveforms[batch], [start * HOP_LENGTH for start in starts], frames * HOP_LENGTH)
        return vocoder_loss(vocoder(mel), target / FULL_SCALE)

    return train_by_schedule(vocoder, loss, schedule, name="vocoder", seed=params.seed, work=work, ema_decay=0.98)


def segment_starts(count: int, length: int, frames: int, *seed: int) -> list[int]:
    """Random first frames of `count` segments within clips of `length` frames, decided by the seed."""
    generator = torch.Generator().manual_seed(derive_seed("segments", *seed))
    return torch.randint(max(1, length - frames + 1), (count,), generator=generator).tolist()


def cut(clips: Tensor, starts: list[int], length: int) -> Tensor:
    """From each of `[B, ..., T]` the `length` values that follow its start: `[B, ..., length]`."""
    return torch.stack([clip[..., start : start + length] for clip, start in zip(clips, starts, strict=True)])


@torch.no_grad()
def report(mels: Tensor) -> dict[str, float]:
    """Mean absolute log10 mel errors of `models/codec/` on the validation split: VAE, vocoder, and both in a row."""
    codec = load_codec()
    vae_size, vocoder_size = (sum(one.numel() for one in half.parameters()) for half in (codec.vae, codec.vocoder))
    codec.to(device())
    errors = {"vae_mel_error": 0.0, "vocoder_mel_error": 0.0, "round_trip_mel_error": 0.0}
    for part in mels.split(PIECE):
        decoded = codec.decode_mel(codec.encode(part))
        made = (decoded, mel_spectrogram(codec.vocode(part)), mel_spectrogram(codec.vocode(decoded)))
        for name, mel in zip(errors, made, strict=True):
            errors[name] += float((mel - part).abs().sum()) / mels.numel()
    return {
        **{name: round(error, 4) for name, error in errors.items()},
        "latent_scale_factor": round(codec.scale_factor, 4),
        "vae_parameters": vae_size,
        "vocoder_parameters": vocoder_size,
    }


if __name__ == "__main__":
    run(main)
